//! The ledger for auditors: entries, checkpoints, proofs, the export, corrections.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Json,
    body::{Body as Answer, Bytes, HttpBody},
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use holdgate_protocol::{Hash, b64, merkle::leaf_hash};
use hyper::body::Frame;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{sync::mpsc, time::timeout};

use super::{
    App,
    error::Failure,
    extract::{Body, Name, Params},
    session::{SignedIn, SignedWrite},
};
use crate::{
    domain::authority::AUDITOR,
    service::{
        export::Export,
        ledger::{Linked, Opening},
    },
    store::StoreError,
};

/// The most entries on one page.
const MAX_PAGE: u32 = 1000;

/// How long the reader of an export may take for one piece of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who may read the ledger, with all that was decided by anybody: auditors. Checkpoints and proofs are hashes only: for everybody who is
/// signed in.
pub async fn may_read_ledger(app: &App, reader: &SignedIn) -> Result<(), Failure> {
    if app.service.has_role(&reader.session.person.id, &[AUDITOR]).await? {
        return Ok(());
    }
    let who = format!("this is for auditors: it needs the role `{AUDITOR}`");
    Err(Failure::new(StatusCode::FORBIDDEN, "not_auditor", who))
}

/// `GET /api/ledger/checkpoint`
pub async fn checkpoint(_signed: SignedIn, State(app): State<App>) -> Result<Response, Failure> {
    let note = app.service.checkpoint().await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], note).into_response())
}

/// Query of `GET /api/ledger/entries`.
#[derive(Deserialize)]
pub struct EntryParams {
    #[serde(default)]
    after: u64,
    limit: Option<u32>,
    hold: Option<String>,
}

/// Answer of `GET /api/ledger/entries`.
#[derive(Serialize)]
pub struct EntryList {
    items: Vec<EntryLine>,
    /// What to give as `after` for the next page.
    next: Option<u64>,
}

/// An entry with its links.
#[derive(Serialize)]
pub struct EntryLine {
    seq: u64,
    time: u64,
    kind: String,
    hold: Option<String>,
    decided_by: Option<String>,
    data: Value,
    corrects: Option<u64>,
    corrected_by: Vec<u64>,
}

impl TryFrom<Linked> for EntryLine {
    type Error = StoreError;

    fn try_from(linked: Linked) -> Result<Self, StoreError> {
        let Linked { entry, corrected_by } = linked;
        let data: Value = serde_json::from_str(&entry.data)?;
        Ok(EntryLine {
            seq: entry.seq,
            time: entry.time,
            kind: entry.kind,
            hold: entry.hold,
            decided_by: entry.decided_by,
            corrects: data.get("corrects").and_then(Value::as_u64),
            data,
            corrected_by,
        })
    }
}

/// `GET /api/ledger/entries`
pub async fn entries(
    signed: SignedIn,
    State(app): State<App>,
    Params(ask): Params<EntryParams>,
) -> Result<Json<EntryList>, Failure> {
    may_read_ledger(&app, &signed).await?;
    let limit = ask.limit.unwrap_or(100).clamp(1, MAX_PAGE);
    let linked = app.service.entries(ask.hold.as_deref(), ask.after, limit).await?;
    let full = u32::try_from(linked.len()).is_ok_and(|count| count >= limit);
    let next = linked.last().filter(|_| full).map(|last| last.entry.seq);
    let items = linked.into_iter().map(EntryLine::try_from).collect::<Result<_, _>>()?;
    Ok(Json(EntryList { items, next }))
}

/// Answer of `GET /api/ledger/entries/{seq}`.
#[derive(Serialize)]
pub struct EntryDetail {
    entry: EntryLine,
    /// The bytes that are the leaf, which is UTF-8, and their hash.
    leaf: String,
    leaf_hash: Hash,
    /// What an opening vouches for, while it is kept.
    captured: Option<Captured>,
}

/// Salt and bytes, in base64: the SHA-256 of both, one behind the other, stands in the entry as `captured`, that of the salt and the 32 bytes of
/// the digest as `request`.
#[derive(Serialize)]
struct Captured {
    salt: String,
    request: String,
    digest: Hash,
}

/// `GET /api/ledger/entries/{seq}`
pub async fn entry(
    signed: SignedIn,
    State(app): State<App>,
    Name(seq): Name<u64>,
) -> Result<Json<EntryDetail>, Failure> {
    may_read_ledger(&app, &signed).await?;
    let (linked, opening) = app.service.entry(seq).await?;
    let leaf = linked.entry.to_leaf();
    let captured = |Opening { salt, request, digest }| Captured { salt: b64(&salt), request: b64(&request), digest };
    Ok(Json(EntryDetail {
        leaf_hash: leaf_hash(leaf.as_bytes()),
        leaf,
        captured: opening.map(captured),
        entry: linked.try_into()?,
    }))
}

/// Query of `GET /api/ledger/proof/inclusion`.
#[derive(Deserialize)]
pub struct InclusionParams {
    seq: u64,
    size: Option<u64>,
}

/// That an entry is part of the ledger of a size (RFC 9162 section 2.1.3).
#[derive(Serialize)]
pub struct InclusionAnswer {
    seq: u64,
    size: u64,
    leaf: Hash,
    root: Hash,
    proof: Vec<Hash>,
}

/// `GET /api/ledger/proof/inclusion`
pub async fn inclusion(
    _signed: SignedIn,
    State(app): State<App>,
    Params(ask): Params<InclusionParams>,
) -> Result<Json<InclusionAnswer>, Failure> {
    let proved = app.service.inclusion(ask.seq, ask.size).await?;
    let (leaf, proof) = (proved.of, proved.hashes);
    Ok(Json(InclusionAnswer { seq: ask.seq, size: proved.size, leaf, root: proved.root, proof }))
}

/// Query of `GET /api/ledger/proof/consistency`.
#[derive(Deserialize)]
pub struct ConsistencyParams {
    from: u64,
    to: Option<u64>,
}

/// That the ledger of a size begins with the one of an earlier size (RFC 9162 section 2.1.4).
#[derive(Serialize)]
pub struct ConsistencyAnswer {
    from: u64,
    to: u64,
    from_root: Hash,
    to_root: Hash,
    proof: Vec<Hash>,
}

/// `GET /api/ledger/proof/consistency`
pub async fn consistency(
    _signed: SignedIn,
    State(app): State<App>,
    Params(ask): Params<ConsistencyParams>,
) -> Result<Json<ConsistencyAnswer>, Failure> {
    let proved = app.service.consistency(ask.from, ask.to).await?;
    let (from_root, to_root) = (proved.of, proved.root);
    Ok(Json(ConsistencyAnswer { from: ask.from, to: proved.size, from_root, to_root, proof: proved.hashes }))
}

/// Body of `POST /api/ledger/{seq}/corrections`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorrectionBody {
    reason: String,
    text: String,
}

/// The entry that a correction is.
#[derive(Serialize)]
pub struct Corrected {
    seq: u64,
    corrects: u64,
}

/// `POST /api/ledger/{seq}/corrections`
pub async fn correct(
    SignedWrite(signed): SignedWrite,
    State(app): State<App>,
    Name(corrects): Name<u64>,
    Body(body): Body<CorrectionBody>,
) -> Result<Response, Failure> {
    let seq = app.service.correct(&signed.who, corrects, &body.reason, &body.text).await?;
    Ok((StatusCode::CREATED, Json(Corrected { seq, corrects })).into_response())
}

/// `GET /api/ledger/export`
pub async fn export(signed: SignedIn, State(app): State<App>) -> Result<Response, Failure> {
    may_read_ledger(&app, &signed).await?;
    let export = app.service.export().await?;
    let headers = [
        (header::CONTENT_TYPE, "application/jsonl"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"ledger.jsonl\""),
    ];
    Ok((headers, Answer::new(Pieces::of(export))).into_response())
}

/// The pieces of an export as a body. They are made as fast as they are read, and no faster.
struct Pieces(mpsc::Receiver<Result<Bytes, StoreError>>);

impl Pieces {
    fn of(mut export: Export) -> Self {
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Some(piece) = export.next().await.transpose() {
                if let Err(error) = &piece {
                    tracing::error!(%error, "an export was broken off");
                }
                let failed = piece.is_err();
                // Whoever has gone, or reads no more, gets no more; without its end the export does not verify.
                let sent = timeout(PATIENCE, sender.send(piece.map(Bytes::from))).await;
                if failed || !matches!(sent, Ok(Ok(()))) {
                    return;
                }
            }
        });
        Pieces(receiver)
    }
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = StoreError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StoreError>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}
