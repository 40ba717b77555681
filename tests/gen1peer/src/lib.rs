//! A node of generation 1 as far as its wire goes, for tests of the bridge. It shares no line with the bridge and knows
//! nothing of the node: its swarm ([`swarm`]), its JSON ([`submission`]) and its habits ([`node`]) are written from the
//! description of the deployed nodes' wire, so that a misunderstanding on one side is not repeated on the other.

mod node;
mod submission;
mod swarm;

pub use node::{Event, Node, NodeConfig};
pub use submission::{Operator, Submission, manual, topic};
