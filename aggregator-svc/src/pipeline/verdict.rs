//! What a fault means for a call of an aggregator component: whether it is over, or made again and when.

use std::time::Duration;

use wavs_ipc::contract::job::GuestErrorClass;

use super::backoff::Backoff;
use super::execute::COMPONENT_CAP;
use super::quarantine::{self, MAX_DEATHS};
use super::run::RunFault;
use crate::ledger::Ending;
use crate::ledger::tries::{Tries, Vain};

/// How often a call is repeated after a fault of the guest.
const MAX_GUEST_FAULTS: u32 = 3;
/// Wait for engine-svc to have room, or to be there.
const ENGINE_REST: Duration = Duration::from_millis(50);
/// Wait for a turn among the calls that engine-svc may die of.
const TURN_REST: Duration = Duration::from_secs(1);
/// Wait after a failure of engine-svc, or of a component, that is not over in a moment.
const FAULT_REST: Duration = Duration::from_secs(5);

/// What becomes of a call.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is over.
    Final(Ending),
    /// It is made again.
    Again {
        /// What counts against it.
        vain: Vain,
        /// After this time.
        delay: Duration,
    },
    /// It was not made, and is tried again after this time.
    Wait(Duration),
}

/// Judges the fault of a call that was made so often before.
pub(super) fn of(fault: RunFault, tries: Tries) -> Verdict {
    let again = |vain, delay| Verdict::Again { vain, delay };
    match fault {
        RunFault::Guest(error) if error.class == GuestErrorClass::Limit || tries.faults >= MAX_GUEST_FAULTS => {
            let detail = format!("the aggregator component failed: {}", error.detail);
            Verdict::Final(Ending::failed(error.class.as_str(), detail))
        }
        RunFault::Guest(_) => again(Vain::Fault, Backoff::GUEST.after(tries.faults + 1)),
        RunFault::Death(detail) if tries.deaths + 1 >= MAX_DEATHS => {
            Verdict::Final(Ending::failed("quarantined", quarantine::text(&detail)))
        }
        RunFault::Death(_) => again(Vain::Death, Backoff::DEATH.after(tries.deaths + 1)),
        RunFault::Interrupted(_) => again(Vain::Interrupted, ENGINE_REST),
        RunFault::NotStarted(_) => Verdict::Wait(ENGINE_REST),
        RunFault::Later(_) => Verdict::Wait(TURN_REST.mul_f64(rand::random_range(0.8..1.2))),
        RunFault::Quarantined(_) => again(Vain::Uncounted, COMPONENT_CAP),
        RunFault::Component(_) | RunFault::Host(_) | RunFault::Refused(_) => again(Vain::Uncounted, FAULT_REST),
    }
}

#[cfg(test)]
mod tests {
    use wavs_ipc::contract::job::GuestError;

    use super::*;

    fn judge(fault: RunFault, faults: u32, deaths: u32) -> &'static str {
        let tries = Tries {
            attempt: 9,
            faults,
            deaths,
        };
        match of(fault, tries) {
            Verdict::Final(ending) => ending.reason,
            Verdict::Again { vain: Vain::Fault, .. } => "fault",
            Verdict::Again { vain: Vain::Death, .. } => "death",
            Verdict::Again {
                vain: Vain::Interrupted,
                ..
            } => "interrupted",
            Verdict::Again { .. } => "again",
            Verdict::Wait(_) => "wait",
        }
    }

    #[test]
    fn faults_of_the_guest_and_deaths_of_engine_svc_are_counted_apart() {
        let guest = |class| {
            let detail = String::new();
            RunFault::Guest(GuestError { class, detail })
        };
        let (fault, limit) = (GuestErrorClass::Fault, GuestErrorClass::Limit);
        let death = || RunFault::Death(String::new());
        assert_eq!(judge(guest(fault), 2, 0), "fault");
        assert_eq!(judge(guest(fault), 3, 0), "guest_fault");
        assert_eq!(judge(guest(fault), 2, 2), "fault");
        assert_eq!(judge(guest(limit), 0, 0), "limit");
        assert_eq!(judge(death(), 3, 1), "death");
        assert_eq!(judge(death(), 2, 2), "quarantined");
        assert_eq!(judge(RunFault::Quarantined(String::new()), 9, 9), "again");
        assert_eq!(judge(RunFault::Interrupted(String::new()), 9, 9), "interrupted");
        assert_eq!(judge(RunFault::NotStarted(String::new()), 9, 9), "wait");
    }
}
