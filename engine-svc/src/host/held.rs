//! What a run may hold of things that take far more of the host than their handle: descriptors, buffers, headers.
//!
//! The library bounds the handles of a run and the bytes of one call, so what 10,000 calls leave behind would be their product.
//! The functions that make such things are replaced here by ones that count first.

use std::any::Any;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::filesystem::WasiFilesystemView;
use wasmtime_wasi::p2::bindings::filesystem::types as files;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, TcpSocket, UdpSocket};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::{outgoing_handler, types as http};

use super::state::GuestState;
use crate::limits::{BODIES, Exceeded, FIELDS, LISTINGS, REQUESTS, URI_BYTES};

/// The names under which the library links what is replaced.
const FILES: &str = "wasi:filesystem/types@0.2.12";
const HTTP: &str = "wasi:http/types@0.2.12";
const HANDLER: &str = "wasi:http/outgoing-handler@0.2.12";

type Store<'a> = StoreContextMut<'a, GuestState>;
type Headers = Resource<http::Fields>;

/// Replaces functions of a linker that allows it.
///
/// # Errors
/// When a type does not fit, which is a bug.
pub(crate) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    add_files(linker)?;
    add_headers(linker)?;
    add_requests(linker)
}

fn add_files(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    use files::HostDescriptor;
    type OpenAt = (
        Resource<files::Descriptor>,
        files::PathFlags,
        String,
        files::OpenFlags,
        files::DescriptorFlags,
    );
    let mut files = linker.instance(FILES)?;
    files.func_wrap_async(
        "[method]descriptor.open-at",
        |mut store: Store<'_>, (at, path_flags, path, open_flags, flags): OpenAt| {
            Box::new(async move {
                let state = store.data_mut();
                if state.open_files() >= state.limits.open_files || !state.admit_descriptor() {
                    return Ok((Err(files::ErrorCode::InsufficientMemory),));
                }
                let mut view = state.filesystem();
                let opened = HostDescriptor::open_at(&mut view, at, path_flags, path, open_flags, flags).await;
                Ok((state.file_result(opened)?,))
            })
        },
    )?;
    files.func_wrap_async(
        "[method]descriptor.read-directory",
        |mut store: Store<'_>, (directory,): (Resource<files::Descriptor>,)| {
            Box::new(async move {
                let state = store.data_mut();
                if state.count::<files::DirectoryEntryStream>() >= LISTINGS {
                    return Ok((Err(files::ErrorCode::InsufficientMemory),));
                }
                let listed = HostDescriptor::read_directory(&mut state.filesystem(), directory).await;
                Ok((state.file_result(listed)?,))
            })
        },
    )
}

fn add_headers(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    use http::HostFields;
    let mut types = linker.instance(HTTP)?;
    types.func_wrap("[constructor]fields", |mut store: Store<'_>, (): ()| {
        let state = store.data_mut();
        state.admit_headers()?;
        Ok((HostFields::new(&mut state.http())?,))
    })?;
    types.func_wrap(
        "[static]fields.from-list",
        |mut store: Store<'_>, (entries,): (Vec<(String, Vec<u8>)>,)| {
            let state = store.data_mut();
            state.admit_headers()?;
            let made = match HostFields::from_list(&mut state.http(), entries) {
                Ok(made) => Ok(made),
                Err(cause) => Err(http::Host::convert_header_error(&mut state.http(), cause)?),
            };
            Ok((made,))
        },
    )?;
    types.func_wrap("[method]fields.clone", |mut store: Store<'_>, (fields,): (Headers,)| {
        let state = store.data_mut();
        state.admit_headers()?;
        Ok((HostFields::clone(&mut state.http(), fields)?,))
    })
}

fn add_requests(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    use http::{HostOutgoingRequest, HostOutgoingResponse};
    type Request = Resource<http::OutgoingRequest>;
    let mut types = linker.instance(HTTP)?;
    types.func_wrap(
        "[constructor]outgoing-request",
        |mut store: Store<'_>, (headers,): (Headers,)| {
            let state = store.data_mut();
            state.admit::<http::OutgoingRequest>("HTTP requests", REQUESTS)?;
            Ok((HostOutgoingRequest::new(&mut state.http(), headers)?,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.body",
        |mut store: Store<'_>, (request,): (Request,)| {
            let state = store.data_mut();
            state.admit_body()?;
            Ok((HostOutgoingRequest::body(&mut state.http(), request)?,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-response.body",
        |mut store: Store<'_>, (response,): (Resource<http::OutgoingResponse>,)| {
            let state = store.data_mut();
            state.admit_body()?;
            Ok((HostOutgoingResponse::body(&mut state.http(), response)?,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-method",
        |mut store: Store<'_>, (request, method): (Request, http::Method)| {
            if matches!(&method, http::Method::Other(name) if name.len() > URI_BYTES) {
                return Ok((Err(()),));
            }
            let mut http = store.data_mut().http();
            Ok((HostOutgoingRequest::set_method(&mut http, request, method)?,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-authority",
        |mut store: Store<'_>, (request, authority): (Request, Option<String>)| {
            if authority.as_ref().is_some_and(|authority| authority.len() > URI_BYTES) {
                return Ok((Err(()),));
            }
            let mut http = store.data_mut().http();
            Ok((HostOutgoingRequest::set_authority(&mut http, request, authority)?,))
        },
    )?;
    // Responses that are kept hold their headers.
    linker.instance(HANDLER)?.func_wrap(
        "handle",
        |mut store: Store<'_>, (request, options): (Request, Option<Resource<http::RequestOptions>>)| {
            let state = store.data_mut();
            state.admit::<http::IncomingResponse>("HTTP responses", REQUESTS)?;
            state.admit_request();
            let sent = match outgoing_handler::Host::handle(&mut state.http(), request, options) {
                Ok(response) => Ok(response),
                Err(cause) => Err(http::Host::convert_error_code(&mut state.http(), cause)?),
            };
            Ok((sent,))
        },
    )
}

impl GuestState {
    /// How many of a kind the run holds.
    pub(super) fn count<T: 'static>(&mut self) -> usize {
        self.count_that(<dyn Any>::is::<T>)
    }

    /// Ends a run that would hold more of a kind than it may.
    fn admit<T: 'static>(&mut self, what: &'static str, limit: usize) -> Result<(), Exceeded> {
        if self.count::<T>() < limit {
            Ok(())
        } else {
            Err(Exceeded::Held { what, limit })
        }
    }

    fn admit_headers(&mut self) -> Result<(), Exceeded> {
        self.admit::<http::Fields>("HTTP header lists", FIELDS)
    }

    fn admit_body(&mut self) -> Result<(), Exceeded> {
        self.admit::<http::OutgoingBody>("HTTP bodies", BODIES)
    }

    /// At least as many as the run has files open: a stream keeps the file open that it was made of.
    fn open_files(&mut self) -> usize {
        self.count_that(is_file)
    }

    /// At least as many as the descriptors of the files and sockets of the run.
    pub(super) fn open_descriptors(&mut self) -> usize {
        self.count_that(|entry| is_file(entry) || entry.is::<TcpSocket>() || entry.is::<UdpSocket>())
    }

    fn count_that(&mut self, counts: impl Fn(&dyn Any) -> bool) -> usize {
        self.table.iter_mut().filter(|entry| counts(&**entry)).count()
    }

    fn file_result<T>(
        &mut self,
        result: Result<T, wasmtime_wasi::p2::FsError>,
    ) -> wasmtime::Result<Result<T, files::ErrorCode>> {
        match result {
            Ok(value) => Ok(Ok(value)),
            Err(cause) => files::Host::convert_error_code(&mut self.filesystem(), cause).map(Err),
        }
    }
}

fn is_file(entry: &dyn Any) -> bool {
    entry.is::<files::Descriptor>() || entry.is::<DynInputStream>() || entry.is::<DynOutputStream>()
}
