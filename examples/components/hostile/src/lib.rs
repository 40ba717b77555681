//! What a component would do that is out to harm its host by way of WASI. The input names the misdeed, with an argument
//! behind a colon where one is needed:
//!
//! | input | effect |
//! |---|---|
//! | `sockets:N` | makes N sockets and keeps them; tells how many it got and what refused the next |
//! | `accept:N` | listens on loopback, and connects to itself N times; tells how many connections it got and what refused the next |
//! | `files:N` | writes N MiB into one file |
//! | `many-files:N` | makes N empty files |
//! | `remove-files` | removes what the two above made |
//! | `open:N` | opens N files and keeps them; tells how many it got and what refused the next |
//! | `hidden:N` | writes N MiB into a file that it has removed |
//! | `nest:N` | makes N directories below one another, with the longest names, and writes 16 MiB in the last |
//! | `lists:N` | lists its directory N times and keeps the lists; tells how many it got and what refused the next |
//! | `headers:N` | makes N lists of HTTP headers and keeps them |
//! | `bodies:N` | makes N HTTP requests, begins their bodies, and keeps both |
//! | `header:N` | makes a list of HTTP headers with one of N bytes; tells what came of it |
//! | `requests:N AUTHORITY` | sends N HTTP requests before it looks at an answer; tells what came of the last |
//! | `method:N` | asks for an HTTP method of N bytes |
//! | `buckets:N` | opens N buckets with names of 16 MiB and keeps them |
//! | `names:N` | begins to look up N names, and drops each look-up at once |
//! | `sleep` | sleeps for ever |
//! | `poll` | waits for several things, none of which happens |
//! | `handles:N` | makes N pollables and keeps them |
//! | `kv:N` | stores N MiB in the key-value store, one for each key; tells how many it got and what refused the next |
//! | `kv-and-panic:N` | the same, and then panics |
//! | `dice` | tells what it gets of chance and time; an argument only makes it another event |
//! | `connect:NAME PORT` | looks a name up by itself and connects a socket to each address; tells what came of it |
//! | `tls:NAME PORT` | connects a socket to each address of a name and begins a TLS session; tells what came of it |
//! | `destructor` | panics while it drops a value at the end |
//! | `resolve:NAME` | looks up a name and tells the addresses |
//! | `random:N` | asks for N random bytes at once |

mod tls;

use std::num::ParseIntError;

use operator_kit::wasi::keyvalue::store;
use operator_kit::{Guest, TriggerAction, WasmResponse, input, output};
use wasip2::clocks::{monotonic_clock, wall_clock};
use wasip2::filesystem::preopens;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, OpenFlags, PathFlags};
use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, Method, OutgoingRequest, Scheme};
use wasip2::io::poll;
use wasip2::io::streams::{InputStream, OutputStream};
use wasip2::random::{insecure, insecure_seed, random};
use wasip2::sockets::network::{ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress};
use wasip2::sockets::tcp::TcpSocket;
use wasip2::sockets::{instance_network, ip_name_lookup, tcp_create_socket};

/// Bytes of one write.
const BITE: usize = 1024 * 1024;

struct Hostile;

impl Guest for Hostile {
    fn run(action: TriggerAction) -> Result<Vec<WasmResponse>, String> {
        let (_, bytes) = input::decode(&action)?;
        let text = String::from_utf8(bytes).map_err(|_| "the input is not text".to_owned())?;
        let (verb, argument) = text.split_once(':').unwrap_or((&text, ""));
        let number = || {
            argument
                .parse()
                .map_err(|cause: ParseIntError| format!("{argument:?}: {cause}"))
        };
        let answer = match verb {
            "sockets" => sockets(number()?),
            "accept" => accept(number()?)?,
            "files" => fill(number()?)?,
            "many-files" => litter(number()?)?,
            "remove-files" => clean()?,
            "open" => open_many(number()?)?,
            "hidden" => hide(number()?)?,
            "nest" => nest(number()?)?,
            "lists" => list_many(number()?)?,
            "headers" => {
                let kept: Vec<_> = (0..number()?).map(|_| Fields::new()).collect();
                format!("{} lists", kept.len())
            }
            "bodies" => bodies(number()?)?,
            "header" => {
                let value = vec![b'x'; number()? as usize];
                format!("{:?}", Fields::new().append("x", &value))
            }
            "requests" => requests(argument)?,
            "method" => {
                let request = OutgoingRequest::new(Fields::new());
                let asked = request.set_method(&Method::Other("X".repeat(number()? as usize)));
                format!("{asked:?}")
            }
            "buckets" => {
                let name = "x".repeat(16 * BITE);
                let kept: Vec<_> = (0..number()?).map(|_| store::open(&name)).collect();
                format!("{} buckets", kept.len())
            }
            "names" => forget_names(number()?)?,
            "sleep" => {
                monotonic_clock::subscribe_duration(u64::MAX).block();
                "it came".to_owned()
            }
            "poll" => {
                let (one, other) = (
                    monotonic_clock::subscribe_duration(u64::MAX),
                    monotonic_clock::subscribe_instant(u64::MAX),
                );
                format!("{:?} came", poll::poll(&[&one, &other]))
            }
            "handles" => {
                let kept: Vec<_> = (0..number()?)
                    .map(|_| monotonic_clock::subscribe_duration(u64::MAX))
                    .collect();
                format!("{} handles", kept.len())
            }
            "kv" => hoard(number()?)?,
            "kv-and-panic" => {
                let stored = hoard(number()?)?;
                panic!("stored {stored}")
            }
            "dice" => dice(),
            "connect" => connect(argument, |_, _, _| "connected".to_owned())?,
            "tls" => connect(argument, tls::shake_hands)?,
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

fn accept(wanted: u32) -> Result<String, String> {
    let failed = |code: ErrorCode| format!("cannot listen: {code:?}");
    let (listener, address) = listen().map_err(failed)?;
    let mut kept = Vec::new();
    for number in 0..wanted {
        let outgoing = match dial(address) {
            Ok(socket) => socket,
            Err(code) => return Ok(format!("{number} accepted, then the next dialled: {code:?}")),
        };
        listener.subscribe().block();
        match listener.accept() {
            // The streams go before the socket that they belong to.
            Ok((socket, input, output)) => kept.push((input, output, socket, outgoing)),
            Err(code) => return Ok(format!("{number} accepted, then the next accepted: {code:?}")),
        }
    }
    Ok(format!("{wanted} accepted"))
}

/// A listener on loopback, and its address.
fn listen() -> Result<(TcpSocket, Ipv4SocketAddress), ErrorCode> {
    let socket = tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4)?;
    let any = Ipv4SocketAddress {
        port: 0,
        address: (127, 0, 0, 1),
    };
    socket.start_bind(&instance_network::instance_network(), IpSocketAddress::Ipv4(any))?;
    socket.subscribe().block();
    socket.finish_bind()?;
    socket.start_listen()?;
    socket.subscribe().block();
    socket.finish_listen()?;
    match socket.local_address()? {
        IpSocketAddress::Ipv4(address) => Ok((socket, address)),
        IpSocketAddress::Ipv6(_) => Err(ErrorCode::NotSupported),
    }
}

fn directory() -> Result<Descriptor, String> {
    let mut found = preopens::get_directories();
    found
        .pop()
        .map(|(directory, _)| directory)
        .ok_or_else(|| "there is no directory".to_owned())
}

fn open(directory: &Descriptor, name: &str) -> Result<Descriptor, String> {
    directory
        .open_at(PathFlags::empty(), name, OpenFlags::CREATE, DescriptorFlags::WRITE)
        .map_err(|code| format!("{name}: {code:?}"))
}

fn fill(mebibytes: u32) -> Result<String, String> {
    write(&open(&directory()?, "flood")?, mebibytes)?;
    Ok(format!("{mebibytes} MiB"))
}

fn write(file: &Descriptor, mebibytes: u32) -> Result<(), String> {
    let bite = vec![b'x'; BITE];
    for number in 0..u64::from(mebibytes) {
        let mut written = 0;
        while written < bite.len() {
            let offset = number * BITE as u64 + written as u64;
            written += file
                .write(&bite[written..], offset)
                .map_err(|code| format!("{code:?}"))? as usize;
        }
    }
    Ok(())
}

fn litter(count: u32) -> Result<String, String> {
    let directory = directory()?;
    for number in 0..count {
        open(&directory, &format!("litter-{number}"))?;
    }
    Ok(format!("{count} files"))
}

fn open_many(count: u32) -> Result<String, String> {
    let directory = directory()?;
    let mut kept = Vec::new();
    for _ in 0..count {
        match directory.open_at(PathFlags::empty(), "litter", OpenFlags::CREATE, DescriptorFlags::WRITE) {
            Ok(file) => kept.push(file),
            Err(code) => return Ok(format!("{} files, then {code:?}", kept.len())),
        }
    }
    Ok(format!("{} files", kept.len()))
}

fn list_many(count: u32) -> Result<String, String> {
    let directory = directory()?;
    let mut kept = Vec::new();
    for _ in 0..count {
        match directory.read_directory() {
            Ok(list) => kept.push(list),
            Err(code) => return Ok(format!("{} lists, then {code:?}", kept.len())),
        }
    }
    Ok(format!("{} lists", kept.len()))
}

fn hide(mebibytes: u32) -> Result<String, String> {
    let directory = directory()?;
    let file = open(&directory, "hidden")?;
    directory.unlink_file_at("hidden").map_err(|code| format!("{code:?}"))?;
    write(&file, mebibytes)?;
    // Open until the run is over.
    std::mem::forget(file);
    Ok(format!("{mebibytes} MiB"))
}

fn nest(depth: u32) -> Result<String, String> {
    let name = "x".repeat(255);
    let mut at = directory()?;
    for level in 0..depth {
        let failed = |code| format!("level {level}: {code:?}");
        at.create_directory_at(&name).map_err(failed)?;
        at = at
            .open_at(
                PathFlags::empty(),
                &name,
                OpenFlags::DIRECTORY,
                DescriptorFlags::READ | DescriptorFlags::MUTATE_DIRECTORY,
            )
            .map_err(failed)?;
    }
    write(&open(&at, "flood")?, 16)?;
    Ok(format!("{depth} levels"))
}

fn bodies(count: u32) -> Result<String, String> {
    let mut kept = Vec::new();
    for _ in 0..count {
        let request = OutgoingRequest::new(Fields::new());
        let body = request.body().map_err(|()| "there is no body".to_owned())?;
        kept.push((body, request));
    }
    Ok(format!("{} bodies", kept.len()))
}

fn requests(argument: &str) -> Result<String, String> {
    let (count, authority) = argument
        .split_once(' ')
        .ok_or("requests need a number and an authority")?;
    let count: u32 = count
        .parse()
        .map_err(|cause: ParseIntError| format!("{count:?}: {cause}"))?;
    let mut sent = Vec::new();
    for _ in 0..count {
        let request = OutgoingRequest::new(Fields::new());
        let usable = request
            .set_scheme(Some(&Scheme::Http))
            .and_then(|()| request.set_authority(Some(authority)))
            .and_then(|()| request.set_path_with_query(Some("/")));
        usable.map_err(|()| format!("{authority:?} is no authority"))?;
        sent.push(outgoing_handler::handle(request, None).map_err(|code| format!("{code:?}"))?);
    }
    let last = sent.last().ok_or("there is no last request")?;
    last.subscribe().block();
    let answer = last.get().and_then(Result::ok).ok_or("there is no answer")?;
    Ok(match answer {
        Ok(response) => format!("{count} requests, the last: {}", response.status()),
        Err(code) => format!("{count} requests, the last: {code:?}"),
    })
}

fn forget_names(count: u32) -> Result<String, String> {
    let network = instance_network::instance_network();
    for number in 0..count {
        let name = format!("x{number}.invalid");
        drop(ip_name_lookup::resolve_addresses(&network, &name).map_err(|code| format!("{code:?}"))?);
    }
    Ok(format!("{count} names"))
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

fn dice() -> String {
    let (bytes, number) = (random::get_random_bytes(8), random::get_random_u64());
    let (insecure, seed) = (insecure::get_insecure_random_u64(), insecure_seed::insecure_seed());
    let wall = wall_clock::now();
    format!(
        "{bytes:?} {number} {insecure} {seed:?} wall {}.{} monotonic {} {}",
        wall.seconds,
        wall.nanoseconds,
        monotonic_clock::now(),
        monotonic_clock::now(),
    )
}

fn hoard(mebibytes: u32) -> Result<String, String> {
    let bucket = store::open("flood").map_err(|error| format!("{error:?}"))?;
    let bite = vec![b'x'; BITE];
    for number in 0..mebibytes {
        if let Err(error) = bucket.set(&number.to_string(), &bite) {
            return Ok(format!("{number} MiB, then {error:?}"));
        }
    }
    Ok(format!("{mebibytes} MiB"))
}

fn resolve(name: &str) -> Result<String, String> {
    let found = addresses(name)?;
    Ok(found
        .iter()
        .map(|address| format!("{address:?}"))
        .collect::<Vec<_>>()
        .join(", "))
}

fn addresses(name: &str) -> Result<Vec<IpAddress>, String> {
    let network = instance_network::instance_network();
    let stream = ip_name_lookup::resolve_addresses(&network, name).map_err(|code| format!("{code:?}"))?;
    let mut found = Vec::new();
    stream.subscribe().block();
    while let Some(address) = stream.resolve_next_address().map_err(|code| format!("{code:?}"))? {
        found.push(address);
    }
    Ok(found)
}

fn connect(argument: &str, connected: impl Fn(&str, InputStream, OutputStream) -> String) -> Result<String, String> {
    let (name, port) = argument.split_once(' ').ok_or("connect needs a name and a port")?;
    let port = port
        .parse()
        .map_err(|cause: ParseIntError| format!("{port:?}: {cause}"))?;
    let mut ends = Vec::new();
    for address in addresses(name)? {
        let IpAddress::Ipv4(address) = address else { continue };
        let end = match dial(Ipv4SocketAddress { port, address }) {
            Ok((input, output, _socket)) => connected(name, input, output),
            Err(code) => format!("{code:?}"),
        };
        ends.push(format!("{address:?} {end}"));
    }
    Ok(ends.join(", "))
}

/// The streams of a connection, which have to go before the socket that they belong to.
fn dial(address: Ipv4SocketAddress) -> Result<(InputStream, OutputStream, TcpSocket), ErrorCode> {
    let socket = tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4)?;
    socket.start_connect(&instance_network::instance_network(), IpSocketAddress::Ipv4(address))?;
    socket.subscribe().block();
    let (input, output) = socket.finish_connect()?;
    Ok((input, output, socket))
}

operator_kit::export!(Hostile);
