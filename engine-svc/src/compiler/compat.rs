//! Which code an engine can load: a fingerprint of everything that the generated code depends on.

use std::hash::{Hash, Hasher};

use sha2::{Digest, Sha256};
use wasmtime::Engine;

/// Counts up when the form of the stored files changes.
const FORMAT: u32 = 1;
/// Bytes of the fingerprint that names carry. Two settings of one node never share 16 bytes by chance.
const BYTES: usize = 16;

/// The fingerprint of an engine, in hex. Equal fingerprints mean that each can load the code of the other.
pub(super) fn fingerprint(engine: &Engine) -> String {
    let mut hasher = Fingerprint(Sha256::new());
    FORMAT.hash(&mut hasher);
    std::env::consts::ARCH.hash(&mut hasher);
    std::env::consts::OS.hash(&mut hasher);
    engine.precompile_compatibility_hash().hash(&mut hasher);
    let digest = hasher.0.finalize();
    digest[..BYTES].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A hasher that is the same in every process and build, which the default one does not promise.
struct Fingerprint(Sha256);

impl Hasher for Fingerprint {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.clone().finalize();
        digest.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    use wavs_service::config::GuestLimits;

    use super::*;
    use crate::runtime::{PoolSize, Variant, compiler_engine, engine};

    #[test]
    fn the_compiler_and_the_runtime_agree_and_variants_differ() {
        let size = PoolSize {
            slots: 2,
            guest: GuestLimits {
                stack: 1 << 20,
                table_elements: 10,
                ..GuestLimits::default()
            },
        };
        let of = |variant| {
            let compiles = fingerprint(&compiler_engine(variant).unwrap());
            assert_eq!(compiles, fingerprint(&engine(variant, size).unwrap()), "{variant:?}");
            compiles
        };
        let (epoch, metered) = (of(Variant::Epoch), of(Variant::Metered));
        assert_ne!(epoch, metered);
        assert_ne!(metered, of(Variant::Deterministic));
        assert_eq!(epoch.len(), 2 * BYTES);
    }
}
