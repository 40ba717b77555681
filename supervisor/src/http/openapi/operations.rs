//! Every operation of the API as a row: what the document is written from. A test compares the rows with the routes.

/// What a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Nothing.
    None,
    /// JSON of a schema of the document.
    Json(&'static str),
    /// Any bytes.
    Bytes,
}

/// What a success looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// JSON of a schema of the document.
    Json(&'static str),
    /// A page of rows of a schema of the document.
    Page(&'static str),
    /// Status 204.
    Empty,
    /// Status 200 without a body.
    Nothing,
    /// Text.
    Text,
    /// Any bytes.
    Bytes,
    /// JSON of a schema of the document, with status 202: the work goes on.
    Accepted(&'static str),
}

/// One method on one path.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// `get`, `post` or `delete`.
    pub method: &'static str,
    /// The path with its parameters in braces.
    pub path: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Names of query parameters.
    pub query: &'static [&'static str],
    /// What it takes.
    pub body: Body,
    /// What it answers.
    pub answer: Answer,
}

const fn get(path: &'static str, summary: &'static str, query: &'static [&'static str], answer: Answer) -> Operation {
    Operation {
        method: "get",
        path,
        summary,
        query,
        body: Body::None,
        answer,
    }
}

const fn post(path: &'static str, summary: &'static str, body: Body, answer: Answer) -> Operation {
    Operation {
        method: "post",
        path,
        summary,
        query: &[],
        body,
        answer,
    }
}

const fn delete(
    path: &'static str,
    summary: &'static str,
    query: &'static [&'static str],
    body: Body,
    answer: Answer,
) -> Operation {
    Operation {
        method: "delete",
        path,
        summary,
        query,
        body,
        answer,
    }
}

use Answer::{Accepted, Empty, Nothing, Page, Text};

/// What every node serves.
#[rustfmt::skip] // A table to be read.
pub const OPERATIONS: &[Operation] = &[
    get("/info", "That the node is there, its name and version.", &[], Answer::Json("Info")),
    get("/health", "Whether each chain has a good endpoint. Always 200.", &[], Answer::Json("Health")),
    get("/healthz", "That the API is alive.", &[], Text),
    get("/readyz", "Whether the node can do its work; 503 with the reasons when it cannot.", &[], Answer::Json("Ready")),
    get("/metrics", "The metrics of all processes, in the Prometheus text format.", &[], Text),
    get("/config", "The effective configuration without secrets.", &[], Answer::Json("Object")),
    get("/p2p/status", "The network of operators.", &[], Answer::Json("P2pStatus")),
    get("/v1/p2p/peers", "The connected peers.", &[], Page("Object")),
    get("/services", "All services with their documents.", &[], Answer::Json("Services")),
    post("/services", "Register the service of a manager contract.", Body::Json("AddService"), Empty),
    delete("/services", "Remove services; unknown ones are no error.", &[], Body::Json("DeleteServices"), Empty),
    post("/services/signer", "The signing key of a registered service.", Body::Json("AddService"), Answer::Json("Signer")),
    get("/services/{chain}/{address}", "The document of a service.", &[], Answer::Json("Service")),
    get("/v1/processes", "The processes of the node.", &[], Page("Process")),
    get("/v1/processes/{name}", "One process.", &[], Answer::Json("Process")),
    post("/v1/processes/{name}/restart", "Restart a process. Admin socket only.", Body::Json("Restart"), Accepted("Object")),
    post("/v1/config/reload", "Load the configuration again. Admin socket only.", Body::None, Answer::Json("Object")),
    get("/v1/logs", "The last log lines of the node. Admin socket only.", &["process", "level", "since"], Page("Object")),
    get("/v1/alerts", "Conditions that somebody should look at.", &[], Page("Alert")),
    get("/v1/services", "Services without their documents.", &["state", "chain", "q", "limit", "cursor"], Page("ServiceRow")),
    get("/v1/services/{id}", "A service with its document.", &["raw"], Answer::Json("Object")),
    delete("/v1/services/{id}", "Remove a service.", &["purge"], Body::None, Empty),
    get("/v1/services/{id}/status", "How a service is doing.", &[], Answer::Json("ServiceStatus")),
    get("/v1/services/{id}/history", "What was decided about a service.", &["limit", "cursor"], Page("Object")),
    get("/v1/services/{id}/logs", "What its components wrote.", &["workflow_id", "level", "since", "limit", "cursor"], Page("Object")),
    post("/v1/services/{id}/pause", "Pause a service for this operator alone.", Body::Json("Pause"), Answer::Json("ServiceStatus")),
    post("/v1/services/{id}/resume", "Let it run again, with all its components, also those in quarantine.", Body::None, Answer::Json("ServiceStatus")),
    post("/v1/services/{id}/refresh", "Read the URI of its document again.", Body::None, Accepted("Object")),
    get("/v1/signers", "The keys of services; never key material.", &[], Page("SignerRow")),
    post("/v1/signers/{id}/rotate", "Give a service a new key. Admin socket only.", Body::None, Answer::Json("Object")),
    post("/v1/signers/accept-empty-history", "Sign with keys whose history may be lost. Admin socket only.", Body::Json("AcceptEmptyHistory"), Answer::Json("Object")),
    get("/v1/signers/history", "What was ever signed. Admin socket only.", &["limit", "cursor"], Page("Object")),
    post("/v1/signers/history", "Take the history of another node over. Admin socket only.", Body::Json("Object"), Answer::Json("Object")),
    get("/v1/node", "Version, addresses, chains and warnings.", &[], Answer::Json("Object")),
    get("/v1/components", "The stored components.", &["limit", "cursor"], Page("Object")),
    get("/v1/components/{digest}", "One component.", &[], Answer::Json("Object")),
    delete("/v1/components/{digest}", "Delete a component that no service uses.", &[], Body::None, Empty),
    get("/v1/jobs", "Jobs, newest first.", &["service_id", "workflow_id", "state", "trigger_type", "since", "until", "event_id", "limit", "cursor"], Page("Job")),
    get("/v1/jobs/{id}", "One job with its timeline.", &[], Answer::Json("Job")),
    get("/v1/executions", "Runs of components, newest first.", &["job_id", "service_id", "kind", "outcome", "limit", "cursor"], Page("Object")),
    get("/v1/dead-letters", "Jobs that failed or expired.", &["service_id", "stage", "since", "limit", "cursor"], Page("Object")),
    post("/v1/dead-letters/retry", "Try several of them again.", Body::Json("RetryDeadLetters"), Accepted("Object")),
    get("/v1/dead-letters/{job_id}", "One of them.", &[], Answer::Json("Object")),
    delete("/v1/dead-letters/{job_id}", "Drop it.", &[], Body::None, Empty),
    post("/v1/dead-letters/{job_id}/retry", "Try it again.", Body::None, Accepted("Object")),
    get("/v1/chains", "How each chain is followed, and its posting account.", &[], Page("Object")),
    get("/v1/chains/{chain}", "One chain.", &[], Answer::Json("Object")),
    get("/v1/quorums", "Open events, and those that ended lately, with their signers.", &["service_id", "state", "limit", "cursor"], Page("Object")),
    get("/v1/transactions", "Transactions of this node, newest first.", &["chain", "state", "limit", "cursor"], Page("Object")),
    get("/api-docs/openapi.json", "This document.", &[], Answer::Json("Object")),
    get("/swagger-ui/", "This document for people.", &[], Text),
    get("/swagger-ui", "Leads to /swagger-ui/.", &[], Nothing),
];

/// What is served while development endpoints are on.
#[rustfmt::skip] // A table to be read.
pub const DEVELOPMENT: &[Operation] = &[
    post("/dev/services", "Store a service document.", Body::Json("Service"), Answer::Json("Hash")),
    get("/dev/services/{hash}", "A stored document.", &[], Answer::Json("Service")),
    post("/dev/services/{hash}", "Register a stored document without reading the chain.", Body::None, Empty),
    post("/dev/components", "Store a component.", Body::Bytes, Answer::Json("Digest")),
    post("/components", "The same as /dev/components.", Body::Bytes, Answer::Json("Digest")),
    post("/upload", "The same as /dev/components.", Body::Bytes, Answer::Json("Digest")),
    post("/dev/chains", "Add a chain.", Body::Json("AddChain"), Nothing),
    post("/dev/triggers", "Inject triggers past all matching.", Body::Json("SimulatedTrigger"), Nothing),
    get("/dev/trigger-streams", "The live sources of triggers.", &[], Answer::Json("Object")),
    get("/dev/kv/{service_id}/{bucket}/{key}", "A value that a component stored.", &[], Answer::Bytes),
];
