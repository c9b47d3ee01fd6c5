//! The one way of waiting for something that sends no signal: to ask again and again.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;

/// Short enough to go unnoticed, long enough to leave the processor to what is waited for.
const PAUSE: Duration = Duration::from_millis(5);

/// Asks `condition` every few milliseconds until it has an answer, which is returned.
///
/// `what` completes the sentence 'waited in vain for …'.
///
/// # Errors
/// When there is no answer within `limit`. The condition is asked at least once, and once more
/// after the limit, so that a stalled machine does not make it fail.
pub fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        let last = start.elapsed() >= limit;
        if let Some(answer) = condition() {
            return Ok(answer);
        }
        ensure!(!last, "waited {limit:?} in vain for {what}");
        pause();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the pause between two questions; what ends the wait is the condition"
)]
fn pause() {
    thread::sleep(PAUSE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_until_there_is_an_answer() {
        let mut asked = 0;
        let answer = wait_until("the third question", Duration::MAX, || {
            asked += 1;
            (asked == 3).then_some(asked)
        });
        assert_eq!(answer.unwrap(), 3);
    }

    #[test]
    fn asks_even_when_there_is_no_time() {
        assert_eq!(
            wait_until("nothing", Duration::ZERO, || Some(7)).unwrap(),
            7
        );
    }

    #[test]
    fn says_what_did_not_happen() {
        let error = wait_until("the moon", Duration::ZERO, || None::<()>).unwrap_err();
        assert_eq!(error.to_string(), "waited 0ns in vain for the moon");
    }
}
