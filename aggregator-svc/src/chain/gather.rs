//! Joins questions that come at the same time into few requests: what is asked while one request is under way goes into the next one,
//! in the order of the keys. A lone question waits for nobody.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Questions in one request. Providers limit batches to 100 or more; what is beyond goes into the next one.
const BATCH_MAX: usize = 64;

/// Gathers questions `Q` with answers `A`, ordered by `K`. There are at most as many as tasks that wait for an answer.
pub(super) struct Gather<K, Q, A> {
    state: Mutex<State<K, Q, A>>,
}

struct State<K, Q, A> {
    waiting: BTreeMap<(K, u64), (Q, oneshot::Sender<A>)>,
    sequence: u64,
    /// Whether a task is asking.
    asking: bool,
}

impl<K: Ord + Send + 'static, Q: Send + 'static, A: Send + 'static> Gather<K, Q, A> {
    /// Asks, by `ask` if nobody does so already, and waits for the answer. `ask` answers each question in its place; `None` when it
    /// left this one out.
    pub(super) async fn answer<F, Fut>(self: &Arc<Self>, key: K, question: Q, ask: F) -> Option<A>
    where
        F: Fn(Vec<Q>) -> Fut + Send + 'static,
        Fut: Future<Output = Vec<A>> + Send + 'static,
    {
        let (sender, answer) = oneshot::channel();
        let start = {
            let mut state = self.lock();
            state.sequence += 1;
            let place = (key, state.sequence);
            state.waiting.insert(place, (question, sender));
            !std::mem::replace(&mut state.asking, true)
        };
        if start {
            // A task of its own, because the one who asks first may be dropped while others depend on it.
            tokio::spawn(Arc::clone(self).drain(ask));
        }
        answer.await.ok()
    }

    async fn drain<F, Fut>(self: Arc<Self>, ask: F)
    where
        F: Fn(Vec<Q>) -> Fut + Send,
        Fut: Future<Output = Vec<A>> + Send,
    {
        // Also when `ask` panics the next question must find somebody to ask it.
        let _asking = Asking(&self);
        loop {
            let (questions, senders): (Vec<_>, Vec<_>) = {
                let mut state = self.lock();
                let count = state.waiting.len().min(BATCH_MAX);
                if count == 0 {
                    state.asking = false;
                    return;
                }
                std::iter::from_fn(|| state.waiting.pop_first())
                    .take(count)
                    .map(|(_, entry)| entry)
                    .unzip()
            };
            for (sender, answer) in senders.into_iter().zip(ask(questions).await) {
                // Who asked may be gone.
                let _ = sender.send(answer);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<K, Q, A>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that nobody asks any more if the task that did so panicked, and lets those who wait know.
struct Asking<'a, K: Ord + Send + 'static, Q: Send + 'static, A: Send + 'static>(&'a Gather<K, Q, A>);

impl<K: Ord + Send + 'static, Q: Send + 'static, A: Send + 'static> Drop for Asking<'_, K, Q, A> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut state = self.0.lock();
            state.asking = false;
            state.waiting.clear();
        }
    }
}

impl<K, Q, A> Default for Gather<K, Q, A> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                waiting: BTreeMap::new(),
                sequence: 0,
                asking: false,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_comes_meanwhile_goes_together_and_in_order() {
        let gather = Arc::new(Gather::<u32, u32, (u32, Vec<u32>)>::default());
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        let ask = |gate: Arc<tokio::sync::Semaphore>| {
            move |questions: Vec<u32>| {
                let gate = Arc::clone(&gate);
                async move {
                    gate.acquire().await.unwrap().forget();
                    questions
                        .iter()
                        .map(|question| (*question, questions.clone()))
                        .collect()
                }
            }
        };
        let (first, second, third) = tokio::join!(
            biased;
            gather.answer(9, 9, ask(Arc::clone(&gate))),
            async {
                // The first one is being asked when these two come.
                tokio::task::yield_now().await;
                let late = gather.answer(7, 7, ask(Arc::clone(&gate)));
                gate.add_permits(2);
                late.await
            },
            async {
                tokio::task::yield_now().await;
                gather.answer(5, 5, ask(Arc::clone(&gate))).await
            },
        );
        assert_eq!(first, Some((9, vec![9])));
        assert_eq!(second, Some((7, vec![5, 7])));
        assert_eq!(third, Some((5, vec![5, 7])));
    }

    #[tokio::test]
    async fn many_are_cut_into_several_requests_and_a_short_answer_leaves_none_waiting() {
        let gather = Arc::new(Gather::<usize, usize, usize>::default());
        let ask = |questions: Vec<usize>| async move {
            assert!(questions.len() <= BATCH_MAX);
            questions.into_iter().filter(|question| *question != 200).collect()
        };
        let all = (0..=200).map(|number| gather.answer(number, number, ask));
        let answers = futures::future::join_all(all).await;
        assert!(
            answers[..200]
                .iter()
                .enumerate()
                .all(|(number, answer)| *answer == Some(number))
        );
        assert_eq!(answers[200], None);
        assert_eq!(gather.answer(1, 1, ask).await, Some(1));
    }

    #[tokio::test]
    async fn a_panic_while_asking_is_no_end() {
        let gather = Arc::new(Gather::<u8, u8, u8>::default());
        let panics = |_: Vec<u8>| async { panic!("on purpose") };
        assert_eq!(gather.answer(1, 1, panics).await, None);
        assert_eq!(gather.answer(2, 2, |questions| async { questions }).await, Some(2));
    }
}
