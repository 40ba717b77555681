//! Development tasks, run as `cargo xtask <task>`. Each task is one file; this one only reads the command line.

mod bench;
mod chaos;
mod contracts;
mod demo;
mod digests;
mod fuzz;
mod guests;
mod shell;
mod solc;
mod test;
mod toolchain;

use std::io::Write as _;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

/// Development tasks of the WAVS node.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    Demo(demo::Demo),
    Test(test::Test),
    Bench(bench::Bench),
    Chaos(chaos::Chaos),
    Fuzz(fuzz::Fuzz),
    Guests(guests::Guests),
    Contracts(contracts::Contracts),
}

fn main() -> anyhow::Result<()> {
    let root = e2e::tools::repository();
    let summary = match Arguments::parse().task {
        Task::Demo(demo) => demo.run(root)?,
        Task::Test(test) => test.run(root)?,
        Task::Bench(bench) => bench.run(root)?,
        Task::Chaos(chaos) => chaos.run(root)?,
        Task::Fuzz(fuzz) => fuzz.run(root)?,
        Task::Guests(guests) => guests.run(root)?,
        Task::Contracts(contracts) => contracts.run(root)?,
    };
    writeln!(std::io::stdout(), "{summary}").context("cannot write to the standard output")
}
