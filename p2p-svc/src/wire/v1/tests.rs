//! The wire against its description: golden bytes here, and two-way exchange with a node that was written from the
//! description alone.

mod exchange;
mod hostile;
mod messages;
mod support;

use wavs_types::ServiceId;

use super::*;

#[test]
fn topics_are_those_of_deployed_nodes() {
    let service = ServiceId::new([0xab; 32]);
    let name = format!("wavs/{}/topic/v1", "ab".repeat(32));
    assert_eq!(topic(&service).to_string(), name);
    assert_eq!(topic(&service).hash().as_str(), name, "the name is not hashed");
    assert_eq!(service_of(&name), Some(service));
    for other in ["wavs/xyz/topic/v1", "/wavs/2/records/ab", &name.to_uppercase()] {
        assert_eq!(service_of(other), None, "{other}");
    }
}

#[test]
fn questions_and_answers_are_those_of_deployed_nodes() {
    let wanted = Wanted {
        service_id: ServiceId::new([7; 32]),
    };
    let text = format!(r#"{{"service_id":"{}"}}"#, "07".repeat(32));
    assert_eq!(serde_json::to_string(&wanted).unwrap(), text);
    assert_eq!(serde_json::from_str::<Wanted>(&text).unwrap(), wanted);
    let missed: Missed = serde_json::from_str(r#"{"submissions":[{"a":1},{"b":[2]}],"later":true}"#).unwrap();
    assert_eq!(
        serde_json::to_string(&missed).unwrap(),
        r#"{"submissions":[{"a":1},{"b":[2]}]}"#
    );
    assert_eq!(CATCH_UP.as_ref(), "/wavs/catchup/1.0.0");
    assert_eq!(NETWORK, "/wavs/1.0.0");
}
