//! A program that is busy beside the engine and has nothing to do with it: what it does to others is up to the kernel.

use std::process::{Child, Command, Stdio};

/// Makes this program such a one.
pub(crate) const ARGUMENT: &str = "--fill-memory";
/// What it fills at a time, as a guest with a huge response does.
const BYTES: usize = 5_000_000;
/// It stands back as guests do (setpriority(2)).
const NICE: i32 = 5;

/// Fills memory until it is killed.
pub(crate) fn fill_memory() -> ! {
    rustix::process::setpriority_process(None, NICE).expect("a lower priority");
    loop {
        std::hint::black_box(vec![1_u8; BYTES]);
    }
}

/// Several of them, until this is dropped.
pub(crate) struct Programs(Vec<Child>);

impl Programs {
    pub(crate) fn start(number: u8) -> Self {
        let program = std::env::current_exe().expect("this program");
        let start = |_| {
            let mut command = Command::new(&program);
            command.arg(ARGUMENT).stdin(Stdio::null()).spawn().expect("a program")
        };
        Self((0..number).map(start).collect())
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        for program in &mut self.0 {
            // Either it is killed here or it has ended.
            let _ = program.kill();
            let _ = program.wait();
        }
    }
}
