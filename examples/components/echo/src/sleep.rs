//! Delays, in the ways in which a guest can spend time.

use operator_kit::host;
use wasip2::clocks::monotonic_clock::{now, subscribe_duration};
use wasip2::io::poll::poll;

const NANOS_PER_MILLI: u64 = 1_000_000;

/// Sleep for the config's `sleep-ms`, if it is set, in the manner of `sleep-kind`.
pub fn as_configured() -> Result<(), String> {
    let Some(millis) = host::config_var("sleep-ms") else {
        return Ok(());
    };
    let millis: u64 = millis
        .parse()
        .map_err(|_| format!("sleep-ms {millis} is not a number"))?;
    let nanos = millis.saturating_mul(NANOS_PER_MILLI);
    match host::config_var("sleep-kind").as_deref() {
        // Waits in the host for one of several events, as an async runtime in a guest does.
        Some("async") => drop(poll(&[&subscribe_duration(nanos)])),
        // Waits in the host for this event alone.
        Some("sync") => subscribe_duration(nanos).block(),
        // Burns fuel and the processor, and reaches the host at every look at the clock.
        Some("hotloop") => {
            let end = now().saturating_add(nanos);
            while now() < end {
                std::hint::spin_loop();
            }
        }
        other => {
            return Err(format!(
                "sleep-kind {} is not async, sync or hotloop",
                other.unwrap_or("(unset)")
            ));
        }
    }
    Ok(())
}
