//! What lies outside of the plugin: files, sockets, clocks, chance, the environment, and other sessions' memory.

use crate::answers::found;
use chaperone_sdk::bindings::sql_check::exports::chaperone::plugin::sql_check::Response;
use std::collections::HashMap;

/// Tries something; the answer tells what came of it, if it comes.
pub(crate) fn answer(word: &str) -> Option<Response> {
    Some(found(match word {
        "environment" => format!("{:?}", std::env::vars().collect::<Vec<_>>()),
        "arguments" => format!("{:?}", std::env::args().collect::<Vec<_>>()),
        "folder" => format!("{:?}", std::env::current_dir().is_ok()),
        "instant" => {
            let start = std::time::Instant::now();
            (0..100_000).for_each(|number| {
                _ = std::hint::black_box(number);
            });
            format!("{:?}", start.elapsed())
        }
        "date" => format!("{:?}", std::time::SystemTime::now()),
        "hash-order" => hash_order(),
        "read-file" => came(std::fs::read("/etc/passwd")),
        "list-folder" => came(std::fs::read_dir("/")),
        "write-file" => came(std::fs::write("/tmp/hostile", b"was here")),
        "connect" => came(std::net::TcpStream::connect(("127.0.0.1", 5432))),
        "listen" => came(std::net::TcpListener::bind(("127.0.0.1", 0))),
        "send" => came(std::net::UdpSocket::bind(("127.0.0.1", 0))),
        "resolve" => came(std::net::ToSocketAddrs::to_socket_addrs("localhost:1")),
        "thread" => came(std::thread::Builder::new().spawn(|| {})),
        "run" => came(std::process::Command::new("/bin/true").status()),
        "read-input" => came(std::io::Read::read(&mut std::io::stdin(), &mut [0; 16])),
        _ => return None,
    }))
}

fn came<T, E>(result: Result<T, E>) -> String {
    if result.is_ok() { "done" } else { "failed" }.into()
}

/// The order of a hash map's keys shows its seed.
pub(crate) fn hash_order() -> String {
    let map: HashMap<u32, ()> = (0..64).map(|number| (number, ())).collect();
    map.keys().map(u32::to_string).collect::<Vec<_>>().join(",")
}

/// Sixteen bytes that no program text holds: they are put together only at run time.
fn marker() -> [u8; 16] {
    let mut marker = *b"NBSLFS!PG!TFTTJP";
    for byte in &mut marker {
        *byte = std::hint::black_box(*byte).wrapping_sub(1) ^ 0x80;
    }
    marker
}

/// Fills 16 MiB with the marker and leaves them.
pub(crate) fn mark() -> usize {
    let filled = marker().repeat(1 << 20).into_boxed_slice();
    let length = filled.len();
    std::hint::black_box(Box::leak(filled));
    length / 16
}

/// Counts markers in all memory that this instance can reach, after taking as much as it may have. Its own copies, on
/// the stack, are a handful; those of [`mark`] are a million.
#[allow(unsafe_code)]
pub(crate) fn search() -> usize {
    while core::arch::wasm32::memory_grow::<0>(1) != usize::MAX {}
    let end = core::arch::wasm32::memory_size::<0>() * 65536;
    let marker = marker();
    let (mut at, mut count) = (1024usize, 0);
    while at + 16 <= end {
        // SAFETY: linear memory begins at 0 and ends at `end`; any byte pattern is a valid array of bytes.
        let here = unsafe { core::ptr::read_unaligned(at as *const [u8; 16]) };
        count += usize::from(here == marker);
        // Allocations are aligned to eight.
        at += 8;
    }
    count
}
