//! The wasmtime engines: one without fuel metering for most runs, one with it for those that have a fuel limit, and one for
//! services whose runs are to be deterministic.
//!
//! Compiled code differs between them, so a component is compiled once per variant. All allocate from a pool whose
//! sizes follow from the number of slots, which makes exhaustion impossible while each run holds a slot.

use serde::{Deserialize, Serialize};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};
use wavs_service::config::GuestLimits;

/// Bytes of linear memory that stay resident in the freed slots of all engines together, so that their next runs find them and
/// need not ask the kernel page by page. Interpreters touch 5 to 30 MB in each run. A component with several memories, which
/// few have, keeps a share for each.
const MEMORY_KEEP_RESIDENT: usize = 512 << 20;
/// The most that stays resident in one slot: what is kept has to be written over after each run.
const SLOT_KEEP_RESIDENT: usize = 16 << 20;
/// Bytes of a table that stay resident in a freed slot.
const TABLE_KEEP_RESIDENT: usize = 8 << 10;
/// Bytes of a stack that stay resident in a freed slot; they are overwritten with zeroes.
const STACK_KEEP_RESIDENT: usize = 32 << 10;
/// Bytes of the stack of a run that are left to the host when the guest has used up its part.
const HOST_STACK: usize = 1_536 << 10;

/// Which code is generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Variant {
    /// Deadlines alone.
    Epoch,
    /// Deadlines and fuel.
    Metered,
    /// Deadlines, fuel, and one result for each computation: of the bits of a NaN, too.
    Deterministic,
}

impl Variant {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Epoch, Self::Metered, Self::Deterministic];

    /// Its place in [`Self::ALL`].
    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// The variant for runs that are metered or not; deterministic ones always are.
    pub(crate) fn of(metered: bool, deterministic: bool) -> Self {
        match (deterministic, metered) {
            (true, _) => Self::Deterministic,
            (false, true) => Self::Metered,
            (false, false) => Self::Epoch,
        }
    }

    /// The variant of that name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|variant| variant.as_str() == name)
    }

    /// The name in metrics and file names.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Epoch => "epoch",
            Self::Metered => "metered",
            Self::Deterministic => "deterministic",
        }
    }
}

/// What the pool has room for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PoolSize {
    /// Runs at a time.
    pub(crate) slots: u32,
    /// What each of them may use.
    pub(crate) guest: GuestLimits,
}

impl PoolSize {
    /// Bytes of linear memory that stay resident in a freed slot.
    fn keep_resident(self) -> usize {
        let slots = usize::try_from(self.slots.max(1)).unwrap_or(usize::MAX);
        SLOT_KEEP_RESIDENT.min(MEMORY_KEEP_RESIDENT / Variant::ALL.len() / slots)
    }
}

/// Makes the engine of one variant.
///
/// # Errors
/// When the address space for the pool cannot be reserved.
pub(crate) fn engine(variant: Variant, size: PoolSize) -> wasmtime::Result<Engine> {
    let guest = size.guest;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(size.slots)
        .total_core_instances(size.slots.saturating_mul(guest.core_instances))
        .total_memories(size.slots.saturating_mul(guest.memories))
        .total_tables(size.slots.saturating_mul(guest.tables))
        .total_stacks(size.slots)
        .max_core_instances_per_component(guest.core_instances)
        .max_memories_per_component(guest.memories)
        .max_tables_per_component(guest.tables)
        .max_memory_size(guest.memory)
        .table_elements(guest.table_elements)
        .max_unused_warm_slots(size.slots)
        .linear_memory_keep_resident(size.keep_resident())
        .table_keep_resident(TABLE_KEEP_RESIDENT)
        // Where the kernel tells which pages a run has written, only those are restored, and the next run of the component
        // finds them in place. Otherwise each run takes its page faults anew, and each of those stops the other threads.
        .pagemap_scan(Enabled::Auto)
        .async_stack_keep_resident(STACK_KEEP_RESIDENT);
    let mut config = config(variant);
    config
        .max_wasm_stack(guest.stack)
        .async_stack_size(guest.stack.saturating_add(HOST_STACK))
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

/// Makes the engine that compiles for one variant. It runs nothing, so it reserves nothing.
///
/// # Errors
/// When the machine is not one that wasmtime compiles for.
pub(crate) fn compiler_engine(variant: Variant) -> wasmtime::Result<Engine> {
    Engine::new(&config(variant))
}

/// All that the generated code depends on.
fn config(variant: Variant) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .consume_fuel(variant != Variant::Epoch)
        .cranelift_nan_canonicalization(variant == Variant::Deterministic)
        .relaxed_simd_deterministic(variant == Variant::Deterministic)
        .async_stack_zeroing(true)
        .wasm_memory64(false)
        .memory_init_cow(true);
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pools are made of addresses, of which a process has 128 TiB.
    #[test]
    fn the_largest_configuration_finds_addresses_for_all_variants() {
        // As the configuration bounds them: with more slots, fewer memories.
        for (slots, memories) in [(256, 16), (16, 256)] {
            let guest = GuestLimits {
                memory: 4 << 30,
                memories,
                tables: 64,
                table_elements: 1_000_000,
                core_instances: 256,
                stack: 8 << 20,
                ..GuestLimits::default()
            };
            let engines = Variant::ALL.map(|variant| engine(variant, PoolSize { slots, guest }));
            for made in &engines {
                assert!(made.is_ok(), "{slots} slots: {:?}", made.as_ref().err());
            }
        }
    }

    #[test]
    fn the_index_of_a_variant_is_its_place() {
        assert_eq!(Variant::ALL.map(Variant::index), [0, 1, 2]);
    }

    #[test]
    fn freed_slots_keep_no_more_than_their_budget() {
        for slots in [0, 1, 16, 64, 256, u32::MAX] {
            let keep = PoolSize {
                slots,
                guest: GuestLimits::default(),
            }
            .keep_resident();
            assert!(keep <= SLOT_KEEP_RESIDENT, "{slots} slots keep {keep} bytes each");
            let all = keep as u64 * u64::from(slots) * Variant::ALL.len() as u64;
            assert!(all <= MEMORY_KEEP_RESIDENT as u64, "{slots} slots keep {all} bytes");
        }
    }
}
