//! Who gives way when more jobs wait than there is room for. Pure; what is given up is the business of [`super::intake`].

use std::collections::{BTreeMap, BinaryHeap};

use wavs_types::ServiceId;

/// How many of its `waiting` jobs each service gives up so that there are `excess` fewer: each time the one with the most gives
/// one. So a service with no more than its equal share loses nothing, however many of another wait.
#[must_use]
pub fn surplus(waiting: Vec<(ServiceId, u64)>, excess: u64) -> Vec<(ServiceId, u64)> {
    let mut waiting: BinaryHeap<(u64, ServiceId)> =
        waiting.into_iter().map(|(service, jobs)| (jobs, service)).collect();
    let mut given: BTreeMap<ServiceId, u64> = BTreeMap::new();
    for _ in 0..excess {
        let Some(mut most) = waiting.peek_mut().filter(|most| most.0 > 0) else {
            break;
        };
        most.0 -= 1;
        *given.entry(most.1).or_default() += 1;
    }
    given.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn service(byte: usize) -> ServiceId {
        ServiceId::new([u8::try_from(byte).unwrap(); 32])
    }

    #[test]
    fn the_one_with_the_most_gives_until_it_has_as_many_as_the_next() {
        let waiting = vec![(service(1), 10), (service(2), 3), (service(3), 7)];
        assert!(surplus(waiting.clone(), 0).is_empty());
        assert_eq!(surplus(waiting.clone(), 3), [(service(1), 3)]);
        assert_eq!(surplus(waiting.clone(), 7), [(service(1), 5), (service(3), 2)]);
        assert_eq!(
            surplus(waiting, 50),
            [(service(1), 10), (service(2), 3), (service(3), 7)]
        );
    }

    proptest! {
        #[test]
        fn nobody_gives_who_has_less_than_another_keeps(jobs in prop::collection::vec(0_u64..60, 0..8), excess in 0_u64..300) {
            let waiting: Vec<_> = jobs.iter().copied().enumerate().map(|(at, jobs)| (service(at), jobs)).collect();
            let given = surplus(waiting.clone(), excess);
            let total: u64 = jobs.iter().sum();
            prop_assert_eq!(given.iter().map(|(_, count)| count).sum::<u64>(), excess.min(total));

            let mut kept: BTreeMap<_, _> = waiting.into_iter().collect();
            for (service, count) in &given {
                prop_assert!(*count > 0 && *count <= kept[service]);
                *kept.get_mut(service).unwrap() -= count;
            }
            let most = kept.values().max().copied().unwrap_or(0);
            for (service, _) in given {
                prop_assert!(kept[&service] + 1 >= most);
            }
        }
    }
}
