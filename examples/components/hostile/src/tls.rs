//! A TLS session over a socket, as a component makes it that brings no TLS of its own: `wasi:tls`, whose names for the streams of
//! `wasi:io` are those of the other bindings.

use wasip2::io::streams::{InputStream, OutputStream};

mod bindings {
    wit_bindgen::generate!({
        inline: "
            package example:session;

            world session {
                import wasi:tls/types@0.2.0-draft;
            }

            package wasi:io@0.2.12 {
                interface error {
                    resource error;
                }
                interface poll {
                    resource pollable;
                }
                interface streams {
                    resource input-stream;
                    resource output-stream;
                }
            }

            package wasi:tls@0.2.0-draft {
                interface types {
                    use wasi:io/streams@0.2.12.{input-stream, output-stream};
                    use wasi:io/poll@0.2.12.{pollable};
                    use wasi:io/error@0.2.12.{error as io-error};

                    resource client-handshake {
                        constructor(server-name: string, input: input-stream, output: output-stream);
                        finish: static func(this: client-handshake) -> future-client-streams;
                    }
                    resource client-connection {
                        close-output: func();
                    }
                    resource future-client-streams {
                        subscribe: func() -> pollable;
                        get: func() -> option<result<result<tuple<client-connection, input-stream, output-stream>, io-error>>>;
                    }
                }
            }
        ",
        with: {
            "wasi:io/error@0.2.12": wasip2::io::error,
            "wasi:io/poll@0.2.12": wasip2::io::poll,
            "wasi:io/streams@0.2.12": wasip2::io::streams,
            "wasi:tls/types@0.2.0-draft": generate,
        },
    });
}

use bindings::wasi::tls::types::ClientHandshake;

/// Shakes hands as a client of `name`; tells how that ended.
pub(crate) fn shake_hands(name: &str, input: InputStream, output: OutputStream) -> String {
    let streams = ClientHandshake::finish(ClientHandshake::new(name, input, output));
    streams.subscribe().block();
    match streams.get() {
        Some(Ok(Ok(_))) => "a session".to_owned(),
        Some(Ok(Err(cause))) => format!("refused: {}", cause.to_debug_string()),
        Some(Err(())) | None => "nothing".to_owned(),
    }
}
