//! What a component would do that is out to harm its host by way of WASI. The input names the misdeed, with an argument
//! behind a colon where one is needed:
//!
//! | input | effect |
//! |---|---|
//! | `sockets:N` | makes N sockets and keeps them; tells how many it got and what refused the next |
//! | `files:N` | writes N MiB into one file |
//! | `many-files:N` | makes N empty files |
//! | `remove-files` | removes what the two above made |
//! | `poll` | waits for a moment that never comes |
//! | `destructor` | panics while it drops a value at the end |
//! | `resolve:NAME` | looks up a name and tells the addresses |
//! | `random:N` | asks for N random bytes at once |

use std::num::ParseIntError;

use operator_kit::{Guest, TriggerAction, WasmResponse, input, output};
use wasip2::clocks::monotonic_clock;
use wasip2::filesystem::preopens;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, OpenFlags, PathFlags};
use wasip2::random::random;
use wasip2::sockets::network::IpAddressFamily;
use wasip2::sockets::{instance_network, ip_name_lookup, tcp_create_socket};

/// Bytes of one write.
const BITE: usize = 1024 * 1024;

struct Hostile;

impl Guest for Hostile {
    fn run(action: TriggerAction) -> Result<Vec<WasmResponse>, String> {
        let (_, bytes) = input::decode(&action)?;
        let text = String::from_utf8(bytes).map_err(|_| "the input is not text".to_owned())?;
        let (verb, argument) = text.split_once(':').unwrap_or((&text, ""));
        let number = || argument.parse().map_err(|cause: ParseIntError| format!("{argument:?}: {cause}"));
        let answer = match verb {
            "sockets" => sockets(number()?),
            "files" => fill(number()?)?,
            "many-files" => litter(number()?)?,
            "remove-files" => clean()?,
            "poll" => {
                monotonic_clock::subscribe_duration(u64::MAX).block();
                "it came".to_owned()
            }
            "destructor" => {
                let _trap = Trap;
                "about to be dropped".to_owned()
            }
            "resolve" => resolve(argument)?,
            "random" => random::get_random_bytes(u64::from(number()?)).len().to_string(),
            _ => return Err(format!("cannot do {text:?}")),
        };
        Ok(vec![output::response(answer.into_bytes())])
    }
}

struct Trap;

impl Drop for Trap {
    fn drop(&mut self) {
        panic!("a destructor panicked");
    }
}

fn sockets(wanted: u32) -> String {
    let mut kept = Vec::new();
    for _ in 0..wanted {
        match tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4) {
            Ok(socket) => kept.push(socket),
            Err(code) => return format!("{} sockets, then {code:?}", kept.len()),
        }
    }
    format!("{} sockets", kept.len())
}

fn directory() -> Result<Descriptor, String> {
    let mut found = preopens::get_directories();
    found.pop().map(|(directory, _)| directory).ok_or_else(|| "there is no directory".to_owned())
}

fn open(directory: &Descriptor, name: &str) -> Result<Descriptor, String> {
    directory
        .open_at(PathFlags::empty(), name, OpenFlags::CREATE, DescriptorFlags::WRITE)
        .map_err(|code| format!("{name}: {code:?}"))
}

fn fill(mebibytes: u32) -> Result<String, String> {
    let file = open(&directory()?, "flood")?;
    let bite = vec![b'x'; BITE];
    for number in 0..u64::from(mebibytes) {
        let mut written = 0;
        while written < bite.len() {
            let offset = number * BITE as u64 + written as u64;
            written += file.write(&bite[written..], offset).map_err(|code| format!("{code:?}"))? as usize;
        }
    }
    Ok(format!("{mebibytes} MiB"))
}

fn litter(count: u32) -> Result<String, String> {
    let directory = directory()?;
    for number in 0..count {
        open(&directory, &format!("litter-{number}"))?;
    }
    Ok(format!("{count} files"))
}

fn clean() -> Result<String, String> {
    let directory = directory()?;
    let entries = directory.read_directory().map_err(|code| format!("{code:?}"))?;
    let mut names = Vec::new();
    while let Some(entry) = entries.read_directory_entry().map_err(|code| format!("{code:?}"))? {
        names.push(entry.name);
    }
    for name in &names {
        directory.unlink_file_at(name).map_err(|code| format!("{code:?}"))?;
    }
    Ok(format!("{} removed", names.len()))
}

fn resolve(name: &str) -> Result<String, String> {
    let network = instance_network::instance_network();
    let stream = ip_name_lookup::resolve_addresses(&network, name).map_err(|code| format!("{code:?}"))?;
    let mut found = Vec::new();
    stream.subscribe().block();
    while let Some(address) = stream.resolve_next_address().map_err(|code| format!("{code:?}"))? {
        found.push(format!("{address:?}"));
    }
    Ok(found.join(", "))
}

operator_kit::export!(Hostile);
