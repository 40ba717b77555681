//! What hostile peers say: throwaway keys, changed copies of what others said, noise.

use k256::ecdsa::SigningKey;
use k256::elliptic_curve::PrimeField as _;
use wavs_types::{
    Attestation, B256, CanonicalSignature, EventId, Record, ServiceId, SignatureKind, SignedRecord, Statement,
};

/// A well-formed attestation by a key that was made for it. `number` makes the key and the event.
pub fn throwaway(service_id: ServiceId, number: u64) -> SignedRecord {
    let mut secret = [7; 32];
    secret[..8].copy_from_slice(&number.to_be_bytes());
    let key = SigningKey::from_slice(&secret).unwrap();
    let sign = |hash: B256| {
        let (signature, recovery) = key.sign_prehash_recoverable(hash.as_slice()).unwrap();
        let mut bytes = signature.to_bytes().to_vec();
        bytes.push(27 + recovery.to_byte());
        CanonicalSignature::canonicalise(&bytes).unwrap()
    };
    let mut event_id = [0; 20];
    event_id[..8].copy_from_slice(&number.to_be_bytes());
    let digest = B256::repeat_byte(3);
    let record = Record {
        service_id,
        issued_ms: now_ms(),
        statement: Statement::Attestation(Attestation {
            workflow_id: "default".parse().unwrap(),
            event_id: EventId::new(event_id),
            digest,
            kind: SignatureKind::EIP191,
            signature: sign(SignatureKind::EIP191.signing_hash(digest)),
            body_digest: B256::repeat_byte(4),
        }),
    };
    let signature = sign(record.signing_hash());
    record.sign(signature).unwrap()
}

/// Copies of a true record, each changed in one way that must make it worthless: the other form of its signatures (high s), odd
/// recovery ids, cut and stretched signatures, another event id, another service, another digest, and bytes behind its end.
pub fn variants(record: &SignedRecord) -> Vec<Vec<u8>> {
    let bytes = record.encoded();
    let Statement::Attestation(said) = &record.record().statement else {
        panic!("no attestation")
    };
    let outer = bytes.len() - 65;
    let inner = position(bytes, said.signature.as_bytes());
    let mut variants = Vec::new();
    for at in [inner, outer] {
        variants.push(changed(bytes, |copy| high_s(&mut copy[at..at + 65])));
        for v in [0, 1, 2, 26, 29, 37, 38, 255] {
            variants.push(changed(bytes, |copy| copy[at + 64] = v));
        }
        variants.push(changed(bytes, |copy| copy[at..at + 32].fill(0)));
        variants.push(changed(bytes, |copy| copy[at + 32..at + 64].fill(0)));
        variants.push(changed(bytes, |copy| copy[at + 32..at + 64].fill(0xff)));
    }
    for field in [
        said.event_id.as_bytes().as_slice(),
        record.record().service_id.as_bytes().as_slice(),
        said.digest.as_slice(),
        said.body_digest.as_slice(),
    ] {
        let at = position(bytes, field);
        variants.push(changed(bytes, |copy| copy[at] ^= 1));
    }
    variants.push(bytes[..bytes.len() - 1].to_vec());
    variants.push([bytes, &[0x78, 1]].concat());
    variants
}

fn changed(bytes: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut copy = bytes.to_vec();
    change(&mut copy);
    copy
}

/// Replaces `s` by `n - s` and flips the recovery id: the same key signed the same, in the form that nobody may relay.
fn high_s(signature: &mut [u8]) {
    let mut s = k256::FieldBytes::default();
    s.copy_from_slice(&signature[32..64]);
    let s = k256::Scalar::from_repr(s).unwrap();
    signature[32..64].copy_from_slice(&(-s).to_repr());
    signature[64] ^= 27 ^ 28;
}

fn position(bytes: &[u8], part: &[u8]) -> usize {
    let mut windows = bytes.windows(part.len());
    windows.position(|window| window == part).unwrap()
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(since.unwrap().as_millis()).unwrap()
}
