//! What aggregator-svc has on record, as the tests want it: one failed job, its runs, an open event, a transaction.

use wavs_ipc::contract::records::{
    BucketView, Counters, DeadLetter, DeadLetterQuery, ExecutionQuery, ExecutionView, GuestKind, HistoryEntry,
    LastError, QuorumQuery, QuorumTarget, QuorumView, Records, RetryDeadLetters, ServiceProgress, Stage,
    TransactionQuery, TransactionView, WorkflowProgress,
};
use wavs_ipc::{Context, ErrorCode, WireError};
use wavs_types::{ComponentDigest, EventId, ServiceId};

use super::script::{JOB, SERVICE, Script, job, missing};

fn service() -> ServiceId {
    SERVICE.parse().unwrap()
}

fn event() -> EventId {
    EventId::new([9; 20])
}

fn letter(id: u128) -> DeadLetter {
    DeadLetter {
        job: job(id),
        stage: Stage::Execute,
        reason: "guest_fault".into(),
        detail: "division by zero".into(),
        deaths: 0,
        size: 42,
    }
}

impl Records for Script {
    async fn executions(self, _: Context, query: ExecutionQuery) -> Result<Vec<ExecutionView>, WireError> {
        let run = |id: u64| ExecutionView {
            id,
            service_id: service(),
            workflow_id: "on-call".parse().unwrap(),
            component: ComponentDigest::of(b"x"),
            kind: GuestKind::Operator,
            call: "run".into(),
            job: Some(JOB),
            event_id: None,
            attempt: 1,
            outcome: "guest_fault".into(),
            error: Some("division by zero".into()),
            ended_at_us: 1_769_940_000_123_456,
            waited_us: 2_500,
            duration_us: Some(1_250),
            fuel: Some(u64::MAX),
            memory_peak: Some(65_536),
            responses: 0,
            response_bytes: 0,
        };
        self.asked(format!("{query:?}"));
        let ids = [3, 2, 1]
            .into_iter()
            .filter(|id| query.before.is_none_or(|before| *id < before));
        self.with("executions", |_| Ok(ids.take(query.max as usize).map(run).collect()))
    }

    async fn dead_letters(self, _: Context, query: DeadLetterQuery) -> Result<Vec<DeadLetter>, WireError> {
        self.asked(format!("{query:?}"));
        let fits = |id: &u128| query.job.is_none_or(|job| job == *id) && query.before.is_none_or(|before| *id < before);
        let ids = [JOB + 1, JOB].into_iter().filter(fits);
        self.with("dead_letters", |_| {
            Ok(ids.take(query.max as usize).map(letter).collect())
        })
    }

    async fn retry_dead_letters(self, _: Context, request: RetryDeadLetters) -> Result<u32, WireError> {
        self.asked(format!("{request:?}"));
        self.with("retry_dead_letters", |_| match request.job {
            Some(JOB) => Ok(1),
            Some(_) => missing("dead letter"),
            None => Ok(request.max),
        })
    }

    async fn drop_dead_letter(self, _: Context, job: u128) -> Result<(), WireError> {
        self.with("drop_dead_letter", |_| {
            if job == JOB { Ok(()) } else { missing("dead letter") }
        })
    }

    async fn quorums(self, _: Context, query: QuorumQuery) -> Result<Vec<QuorumView>, WireError> {
        self.asked(format!("{query:?}"));
        let quorum = QuorumView {
            id: 1,
            service_id: service(),
            workflow_id: "on-call".parse().unwrap(),
            event_id: event(),
            state: "collecting".into(),
            error: None,
            created_at_ms: 1,
            updated_at_ms: 2,
            deadline_ms: 3,
            buckets: vec![BucketView {
                digest: [1; 32],
                own: true,
                signers: vec![([0xab; 20], "counted".into())],
            }],
            targets: vec![QuorumTarget {
                chain: "evm:31337".parse().unwrap(),
                handler: "0x00".into(),
                state: "collecting".into(),
                weight: Some("100".into()),
                threshold: Some("200".into()),
                tx: None,
                error: None,
            }],
        };
        self.with("quorums", |_| Ok(vec![quorum]))
    }

    async fn transactions(self, _: Context, query: TransactionQuery) -> Result<Vec<TransactionView>, WireError> {
        self.asked(format!("{query:?}"));
        let transaction = TransactionView {
            id: 1,
            chain: "evm:31337".parse().unwrap(),
            account: [0xab; 20],
            nonce: 7,
            hash: [2; 32],
            kind: "call".into(),
            event_id: Some(event()),
            handler: Some("0x00".into()),
            state: "stored".into(),
            max_fee: "1000000000".into(),
            priority_fee: None,
            gas: 100_000,
            cost: None,
            replacements: 1,
            block: None,
            reason: None,
            created_at_ms: 1,
        };
        self.with("transactions", |_| Ok(vec![transaction]))
    }

    async fn history(
        self,
        _: Context,
        id: ServiceId,
        before: Option<u64>,
        max: u32,
    ) -> Result<Vec<HistoryEntry>, WireError> {
        let removed = self.with("history", |state| Ok(state.removed))?;
        let entry = |id: u64| HistoryEntry {
            id,
            at_ms: removed.unwrap_or(1),
            what: if removed.is_some() { "deleted" } else { "updated" }.into(),
            actor: Some("chain".into()),
            uri: Some("https://a/b".into()),
            old_digest: None,
            new_digest: Some(SERVICE.parse().unwrap()),
            cause: String::new(),
        };
        let ids = [2, 1]
            .into_iter()
            .filter(|entry| id == service() && before.is_none_or(|before| *entry < before));
        Ok(ids.take(max as usize).map(entry).collect())
    }

    async fn progress(self, _: Context, id: ServiceId) -> Result<ServiceProgress, WireError> {
        if id != service() {
            return Err(WireError::never(ErrorCode::NotFound, "no such service"));
        }
        let workflow = |name: &str, triggers: u64| WorkflowProgress {
            workflow_id: name.parse().unwrap(),
            counters: Counters {
                triggers,
                failed: 1,
                ..Counters::default()
            },
            last_trigger_us: Some(triggers * 1_000_000),
            last_execution_us: None,
            last_final_us: None,
            last_error: Some(LastError {
                at_us: triggers * 1_000_000,
                stage: "execute".into(),
                error: "limit: Time limit exceeded".into(),
                job: Some(JOB),
            }),
        };
        self.with("progress", |_| {
            Ok(ServiceProgress {
                workflows: vec![workflow("gone", 2), workflow("on-call", 3)],
                pending: 1,
                running: 2,
                held: 0,
                last_update: None,
            })
        })
    }
}
