use std::time::Instant;

use super::*;
use crate::testing::{Operator, TTL, service, topics};

const NOW: u64 = 1_700_000_000_000;

fn members() -> Members {
    Members::read(&topics(1, &[Operator(1), Operator(2)], None)).unwrap()
}

fn judge(gate: &mut Gate, bytes: &[u8]) -> Judgement {
    gate.judge(&members(), &service(), bytes, NOW, Instant::now())
}

#[test]
fn a_member_is_accepted_and_a_newcomer_is_asked_about() {
    let mut gate = Gate::default();
    let record = Operator(1).attest(1, 1, NOW);
    assert_eq!(judge(&mut gate, record.encoded()), Judgement::Accept(record));
    let newcomer = Operator(9).attest(1, 1, NOW);
    assert_eq!(
        judge(&mut gate, newcomer.encoded()),
        Judgement::Unknown(newcomer.clone())
    );
    let mut set = topics(2, &[Operator(1)], None);
    set.topics[0].strangers = vec![Operator(9).address().into_array()];
    let members = Members::read(&set).unwrap();
    let judgement = gate.judge(&members, &service(), newcomer.encoded(), NOW, Instant::now());
    assert!(matches!(judgement, Judgement::Stranger(_)));
}

#[test]
fn each_fault_has_its_answer() {
    let mut gate = Gate::default();
    let good = Operator(1).attest(1, 1, NOW);
    let hour = 3_600_000;
    let ttl = u64::try_from(TTL.as_millis()).unwrap();
    let mut flipped = good.encoded().to_vec();
    let last = flipped.len() - 20;
    flipped[last] ^= 1;
    let table = [
        (vec![0; MAX_RECORD_BYTES + 1], Judgement::Reject("too_large")),
        (b"{\"json\":true}".to_vec(), Judgement::Reject("malformed")),
        (Vec::new(), Judgement::Ignore("version")),
        ([good.encoded(), &[0x78, 1]].concat(), Judgement::Reject("malformed")),
        (
            Operator(1).attest(1, 1, NOW + hour).encoded().to_vec(),
            Judgement::Ignore("from_the_future"),
        ),
        (
            Operator(1).attest(1, 1, NOW - ttl - hour).encoded().to_vec(),
            Judgement::Ignore("too_old"),
        ),
    ];
    for (bytes, expect) in table {
        assert_eq!(
            judge(&mut gate, &bytes),
            expect,
            "{}",
            hex::encode(&bytes[..bytes.len().min(64)])
        );
    }
    // A changed signature belongs to nobody, or makes the envelope somebody else's.
    assert_eq!(judge(&mut gate, &flipped), Judgement::Reject("signature"));
    let elsewhere = gate.judge(
        &members(),
        &ServiceId::new([8; 32]),
        good.encoded(),
        NOW,
        Instant::now(),
    );
    assert_eq!(elsewhere, Judgement::Ignore("no_service"));
}

#[test]
fn a_record_on_the_topic_of_another_service_is_invalid() {
    let mut set = topics(1, &[Operator(1)], None);
    set.topics.push(set.topics[0].clone());
    set.topics[1].service_id = ServiceId::new([8; 32]);
    let members = Members::read(&set).unwrap();
    let record = Operator(1).attest(1, 1, NOW);
    let judgement = Gate::default().judge(
        &members,
        &ServiceId::new([8; 32]),
        record.encoded(),
        NOW,
        Instant::now(),
    );
    assert_eq!(judgement, Judgement::Reject("wrong_topic"));
}

#[test]
fn an_event_that_is_over_stays_over() {
    let mut gate = Gate::default();
    let record = Operator(1).attest(1, 1, NOW);
    gate.retire(service(), record.record().event_id().unwrap());
    assert_eq!(judge(&mut gate, record.encoded()), Judgement::Ignore("retired"));
    let other = Operator(1).attest(2, 1, NOW);
    assert!(matches!(judge(&mut gate, other.encoded()), Judgement::Accept(_)));
}

#[test]
fn one_member_cannot_take_the_others_room() {
    let mut gate = Gate::default();
    let now = Instant::now();
    let members = members();
    let mut accepted = 0;
    for event in 0..1_500 {
        let record = Operator(1).attest(event, 1, NOW);
        let judgement = gate.judge(&members, &service(), record.encoded(), NOW, now);
        accepted += usize::from(matches!(judgement, Judgement::Accept(_)));
    }
    assert_eq!(accepted, 1_000);
    let other = Operator(2).attest(1, 1, NOW);
    assert!(matches!(
        gate.judge(&members, &service(), other.encoded(), NOW, now),
        Judgement::Accept(_)
    ));
}
