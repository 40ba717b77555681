//! All children together: started at once, stopped one after the other.
//!
//! The order of the stop follows the flow of work backwards: the process that pulls stops first, so nothing is handed to
//! a process that is gone. Pure like [`super::child`]: an action names the child by its index.

use std::time::Duration;

use super::child::{Action, Child, Event, Phase};
use super::policy::Policy;

/// The children in the order in which they stop.
#[derive(Debug, Clone)]
pub struct Group {
    children: Vec<Child>,
    /// The child whose end is awaited; `None` while nothing stops.
    stopping: Option<usize>,
}

impl Group {
    /// Children with their policies, in the order in which they stop.
    #[must_use]
    pub fn new(policies: impl IntoIterator<Item = Policy>) -> Self {
        Self {
            children: policies.into_iter().map(Child::new).collect(),
            stopping: None,
        }
    }

    /// The children, in stop order.
    #[must_use]
    pub fn children(&self) -> &[Child] {
        &self.children
    }

    /// The earliest deadline of any child.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.children.iter().filter_map(Child::deadline).min()
    }

    /// True once a stop was asked for and no process is left.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.stopping.is_some_and(|index| index >= self.children.len())
    }

    /// True from the request to stop on.
    #[must_use]
    pub fn stopping(&self) -> bool {
        self.stopping.is_some()
    }

    /// Starts every child.
    pub fn start(&mut self, now: Duration) -> Vec<(usize, Action)> {
        self.all(Event::Start, now)
    }

    /// Begins the ordered stop. Children that wait for a restart or are blocked are taken out at once.
    pub fn stop(&mut self, now: Duration) -> Vec<(usize, Action)> {
        if self.stopping.is_some() {
            return Vec::new();
        }
        self.stopping = Some(0);
        let mut actions = Vec::new();
        for index in 0..self.children.len() {
            if !self.children[index].alive() {
                actions.extend(self.one(index, Event::Stop, now));
            }
        }
        actions.extend(self.advance(now));
        actions
    }

    /// Passes an event to one child; an index out of range is ignored.
    pub fn on(&mut self, index: usize, event: Event, now: Duration) -> Vec<(usize, Action)> {
        if index >= self.children.len() {
            return Vec::new();
        }
        let mut actions = self.one(index, event, now);
        if self.stopping.is_some() {
            // A child that dies while others stop must not come back.
            if matches!(self.children[index].phase(), Phase::Backoff | Phase::Blocked) {
                actions.extend(self.one(index, Event::Stop, now));
            }
            actions.extend(self.advance(now));
        }
        actions
    }

    /// Gives one child other numbers; an index out of range is ignored.
    pub fn set_policy(&mut self, index: usize, policy: Policy) {
        if let Some(child) = self.children.get_mut(index) {
            child.set_policy(policy);
        }
    }

    /// Passes an event to every child.
    pub fn all(&mut self, event: Event, now: Duration) -> Vec<(usize, Action)> {
        (0..self.children.len())
            .flat_map(|index| self.on(index, event, now))
            .collect()
    }

    /// Moves the stop on to the first child that still has a process.
    fn advance(&mut self, now: Duration) -> Vec<(usize, Action)> {
        while let Some(index) = self.stopping.filter(|index| *index < self.children.len()) {
            if self.children[index].alive() {
                return self.one(index, Event::Stop, now);
            }
            self.stopping = Some(index + 1);
        }
        Vec::new()
    }

    fn one(&mut self, index: usize, event: Event, now: Duration) -> Vec<(usize, Action)> {
        self.children[index]
            .on(event, now)
            .into_iter()
            .map(|action| (index, action))
            .collect()
    }
}
