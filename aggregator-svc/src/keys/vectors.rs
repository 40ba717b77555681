//! The published signature vectors: keys of the test mnemonic over fixed envelopes.

use wavs_types::{Bytes, Envelope, EventId, SignatureKind};

use super::{Credential, Keyring, PostingKey};
use crate::chain::PostingSigner as _;

const PHRASE: &str = "test test test test test test test test test test test junk";

#[test]
fn service_keys_give_the_published_signatures() {
    let vectors = [
        (
            1,
            None,
            SignatureKind::EIP191,
            "ee830dd975c7b3769b2de7bdee0279c94034ec66826ff65606a8eae211cce5e964b351eb6abe8c7fdea6481972d67c0ff30ea066e4dbd752d2b839915ec8ad421b",
        ),
        (
            2,
            None,
            SignatureKind::EIP191,
            "e2ae742db1ed75b5afbd58b1ac569bca8b31a030c6658ba13f4c51be15c2d5dd69078b46c859aec8d91e077f9ee02914e5b16684ab64b67eef41555d5b6b88971c",
        ),
        (
            1,
            None,
            SignatureKind::RAW,
            "c6466cdbbb19b61f2c6659c07ecefe4cfce925ebbc07b70a0cab36662e7fb50c19ef16f9d3e3bccd5500e0b80603a8ca46961ff59d040fe37973a260772b61621c",
        ),
        (
            1,
            Some(1),
            SignatureKind::EIP191,
            "5ef6e305374b72d5dee5c8f4fa4d1b157cdbe79042eeeed90cf1bf5c282068a756c4ca3ecea55ffb43ae73969daf311b1241374e5f6925efd834a4fbac2688da1c",
        ),
        (
            1,
            Some(1),
            SignatureKind::RAW,
            "4058ef6ff832f268bc15635162861944cc1ffe343b5df6add19981a9857da84f6a1b22eaffb91ddaefdc6e8eeeee8c65b488594730f161b31fc494e87d29cfc11c",
        ),
    ];
    let ring = Keyring::new(Credential::parse(PHRASE).ok().unwrap()).ok().unwrap();
    for (index, ordering, kind, expected) in vectors {
        let envelope = Envelope::new(EventId::new([1; 20]), ordering, Bytes::from_static(&[1, 2, 3]));
        let signer = ring.signer(index).ok().unwrap();
        let signature = signer.sign(&envelope, kind).unwrap();
        assert_eq!(hex::encode(signature.as_bytes()), expected);
        assert_eq!(
            signature.recover(envelope.signing_hash(kind)).unwrap(),
            signer.address()
        );
    }
}

#[test]
fn index_0_signs_as_published_but_not_for_a_service() {
    let credential = Credential::parse(PHRASE).ok().unwrap();
    let key = PostingKey::new(&credential, 0).ok().unwrap();
    let envelope = Envelope::new(EventId::new([1; 20]), None, Bytes::from_static(&[1, 2, 3]));
    let signature = key
        .sign_hash(&envelope.signing_hash(SignatureKind::EIP191))
        .ok()
        .unwrap();
    assert_eq!(
        hex::encode(signature.as_bytes()),
        "3e522058d696b622236ef897194eb530765409a3a449a91e7dfeeec6ad3bab4b56569f1812ac5fad2fea6515591162362060a152b3ba821433cc9d62ab4863f51c"
    );
    assert!(Keyring::new(credential).ok().unwrap().signer(0).is_err());
}
