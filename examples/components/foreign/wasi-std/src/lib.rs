//! An operator component that is written against the Rust standard library alone, as most are: files, environment,
//! clocks, random hash seeds and standard streams come through WASI. The input is `command argument`, the result a text.

use std::collections::hash_map::RandomState;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io::{Read, Write};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

wit_bindgen::generate!({ path: "../../../../wit", world: "wavs:operator/wavs-world@2.6.0", generate_all });

use wavs::types::events::TriggerData;

struct Component;

impl Guest for Component {
    fn run(action: TriggerAction) -> Result<Vec<WasmResponse>, String> {
        let TriggerData::Raw(input) = action.data else {
            return Err("expected raw data".to_owned());
        };
        let input = String::from_utf8(input).map_err(|cause| cause.to_string())?;
        let (command, argument) = input.split_once(' ').unwrap_or((&input, ""));
        let payload = run(command, argument).map_err(|cause| cause.to_string())?.into_bytes();
        Ok(vec![WasmResponse {
            payload,
            ordering: None,
            event_id_salt: None,
        }])
    }
}

fn run(command: &str, argument: &str) -> std::io::Result<String> {
    Ok(match command {
        // Appends to a file that outlives the run, and returns all of it.
        "note" => {
            fs::create_dir_all("notes")?;
            let mut file = OpenOptions::new().create(true).append(true).open("notes/all.txt")?;
            writeln!(file, "{argument}")?;
            let mut all = String::new();
            File::open("notes/all.txt")?.read_to_string(&mut all)?;
            all
        }
        "read" => fs::read_to_string(argument)?,
        "list" => {
            let mut names = fs::read_dir(argument)?
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect::<std::io::Result<Vec<_>>>()?;
            names.sort();
            names.join(",")
        }
        "env" => std::env::var(argument).unwrap_or_else(|_| "unset".to_owned()),
        "print" => {
            println!("{argument} to stdout");
            eprintln!("{argument} to stderr");
            host::log(wavs::types::core::LogLevel::Info, argument);
            String::new()
        }
        // Seconds since 1970, and that a sleep takes its time.
        "clock" => {
            let start = Instant::now();
            std::thread::sleep(Duration::from_millis(20));
            let slept = start.elapsed() >= Duration::from_millis(20);
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |now| now.as_secs());
            format!("{now} {slept}")
        }
        "random" => format!("{:x}", RandomState::new().build_hasher().finish()),
        other => return Err(std::io::Error::other(format!("unknown command {other}"))),
    })
}

export!(Component);
