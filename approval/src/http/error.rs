//! The one error type at the edge: a status, a word for programs and a sentence for people.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{
    domain::Refusal,
    oidc::{OidcError, TokenError},
    service::{
        accounts::SignInError, audit::AuditError, change::ChangeError, decide::DecideError, ledger::LedgerError,
        open::OpenError, publish::PublishError, read::FeedError, who::GatewayError,
    },
    store::StoreError,
};

/// The media type of problem details.
const MEDIA_TYPE: &str = "application/problem+json";

/// The word of an answer of the sign-in provider that this browser did not ask for.
pub const NOT_ASKED: &str = "sign_in_not_asked";

/// An answer with 4xx or 5xx.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub status: StatusCode,
    pub error: &'static str,
    pub detail: String,
    /// After how many seconds to try again.
    pub retry_after: Option<u64>,
    /// The name of the limit that is reached.
    pub limit: Option<&'static str>,
}

impl Failure {
    pub fn new(status: StatusCode, error: &'static str, detail: impl ToString) -> Self {
        Failure { status, error, detail: detail.to_string(), retry_after: None, limit: None }
    }

    pub fn bad_request(detail: impl ToString) -> Self {
        Failure::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    pub fn not_found(detail: impl ToString) -> Self {
        Failure::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    pub fn unauthorized(detail: impl ToString) -> Self {
        Failure::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }

    fn of_store(error: &StoreError) -> Self {
        match error {
            StoreError::Nul | StoreError::TooLong { .. } => Failure::bad_request(error),
            _ => Failure::internal(error),
        }
    }

    /// What went wrong inside is for the log; the other side learns that it may try again.
    fn internal(error: &(impl std::error::Error + ?Sized)) -> Self {
        tracing::error!(%error, "a request could not be answered");
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the service cannot answer at this moment")
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let kept = self.clone();
        let Failure { status, error, detail, retry_after, limit } = self;
        let problem = Problem {
            kind: format!("urn:holdgate:problem:{error}"),
            title: title(error),
            status: status.as_u16(),
            detail: sentence(detail),
            error,
            limit,
            retry_after: limit.and(retry_after),
        };
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // For whoever shows it to a person.
        response.extensions_mut().insert(kept);
        response
    }
}

/// Problem details (RFC 9457). `error` is the last part of `type`, for readers that look for a word.
#[derive(Serialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: String,
    /// The same for all problems of a type.
    title: String,
    status: u16,
    detail: String,
    error: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

/// `unknown_rule` as `Unknown rule`.
fn title(word: &str) -> String {
    let mut title = word.replace('_', " ");
    title.get_mut(..1).map(str::make_ascii_uppercase);
    title
}

/// A message as a sentence.
fn sentence(mut text: String) -> String {
    text.get_mut(..1).map(str::make_ascii_uppercase);
    if !text.ends_with(['.', '?', '!']) {
        text.push('.');
    }
    text
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::of_store(&error)
    }
}

impl From<FeedError> for Failure {
    fn from(error: FeedError) -> Self {
        match error {
            FeedError::Store(error) => error.into(),
            FeedError::Gateway(error) => error.into(),
            FeedError::Gone { .. } => Failure::new(StatusCode::GONE, "cursor_gone", error),
        }
    }
}

impl From<GatewayError> for Failure {
    fn from(error: GatewayError) -> Self {
        match error {
            GatewayError::Store(error) => error.into(),
            GatewayError::Refused => Failure::unauthorized(error),
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let (status, word) = match &error {
            OpenError::Store(error) => return Failure::of_store(error),
            OpenError::Gateway(GatewayError::Store(error)) => return Failure::of_store(error),
            OpenError::Gateway(GatewayError::Refused) => return Failure::unauthorized(error),
            OpenError::Random(error) => return Failure::internal(error),
            OpenError::Version(_) => (StatusCode::UNPROCESSABLE_ENTITY, "unknown_version"),
            OpenError::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed"),
            OpenError::NoPolicy | OpenError::UnknownRevision { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, "unknown_revision")
            }
            OpenError::UnknownRule(_) => (StatusCode::UNPROCESSABLE_ENTITY, "unknown_rule"),
            OpenError::RequirementMismatch => (StatusCode::UNPROCESSABLE_ENTITY, "requirement_mismatch"),
            OpenError::Suspended => (StatusCode::FORBIDDEN, "agent_suspended"),
            OpenError::KeyReused => (StatusCode::CONFLICT, "idempotency_conflict"),
            OpenError::Quota { limit, retry_after } => {
                let failure = Failure::new(StatusCode::TOO_MANY_REQUESTS, "quota", &error);
                return Failure { limit: Some(limit.as_str()), retry_after: Some(*retry_after), ..failure };
            }
        };
        Failure::new(status, word, error)
    }
}

impl From<AuditError> for Failure {
    fn from(error: AuditError) -> Self {
        let (status, word) = match &error {
            AuditError::Store(error) => return Failure::of_store(error),
            AuditError::Refused(_) => (StatusCode::UNPROCESSABLE_ENTITY, "audit_refused"),
            AuditError::Conflict { .. } => (StatusCode::CONFLICT, "audit_conflict"),
        };
        Failure::new(status, word, error)
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        let (status, word) = match &error {
            LedgerError::Store(error) => return Failure::of_store(error),
            LedgerError::Sign(_) | LedgerError::NoKey => return Failure::internal(&error),
            LedgerError::SessionEnded => return Failure::unauthorized(error),
            LedgerError::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            LedgerError::Range { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "ledger_range"),
            LedgerError::SignInAgain => (StatusCode::FORBIDDEN, "sign_in_again"),
            LedgerError::OwnAgent => (StatusCode::FORBIDDEN, "own_agent"),
            LedgerError::NotEligible => (StatusCode::FORBIDDEN, "not_eligible"),
            LedgerError::Correction => (StatusCode::UNPROCESSABLE_ENTITY, "correction_refused"),
            LedgerError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
        };
        Failure::new(status, word, error)
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        let (status, word) = match &error {
            PublishError::Store(error) => return Failure::of_store(error),
            PublishError::Retired => return Failure::unauthorized(error),
            PublishError::Bundle(_) => (StatusCode::UNPROCESSABLE_ENTITY, "bundle_refused"),
            PublishError::Revision { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "revision_mismatch"),
            PublishError::Serial { .. } => (StatusCode::CONFLICT, "serial_not_higher"),
            PublishError::OtherPolicy { .. } => (StatusCode::CONFLICT, "other_policy"),
        };
        Failure::new(status, word, error)
    }
}

impl From<DecideError> for Failure {
    fn from(error: DecideError) -> Self {
        let (status, word) = match &error {
            DecideError::Store(error) => return Failure::of_store(error),
            DecideError::SessionEnded => return Failure::unauthorized(error),
            DecideError::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            DecideError::NotPending(_) => (StatusCode::CONFLICT, "not_open"),
            DecideError::OtherRequest => (StatusCode::CONFLICT, "other_request"),
            DecideError::ReasonTooLong => (StatusCode::UNPROCESSABLE_ENTITY, "reason_too_long"),
            DecideError::Refused(refusal) => refused(refusal),
        };
        Failure::new(status, word, error)
    }
}

impl From<ChangeError> for Failure {
    fn from(error: ChangeError) -> Self {
        let (status, word) = match &error {
            ChangeError::Store(error) => return Failure::of_store(error),
            ChangeError::SessionEnded => return Failure::unauthorized(error),
            ChangeError::Unfit(_) => (StatusCode::FORBIDDEN, "token_cannot_decide"),
            ChangeError::NotAdministrator => (StatusCode::FORBIDDEN, "not_administrator"),
            ChangeError::SignInAgain => (StatusCode::FORBIDDEN, "sign_in_again"),
            ChangeError::OwnAuthority => (StatusCode::FORBIDDEN, "own_authority"),
            ChangeError::OwnProposal => (StatusCode::FORBIDDEN, "own_proposal"),
            ChangeError::ProposerLost => (StatusCode::CONFLICT, "proposer_lost"),
            ChangeError::Reason => (StatusCode::UNPROCESSABLE_ENTITY, "reason_required"),
            ChangeError::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
            ChangeError::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            ChangeError::Conflict(_) => (StatusCode::CONFLICT, "conflict"),
        };
        Failure::new(status, word, error)
    }
}

fn refused(refusal: &Refusal) -> (StatusCode, &'static str) {
    match refusal {
        Refusal::Unfit(_) => (StatusCode::FORBIDDEN, "token_cannot_decide"),
        Refusal::SignInAgain => (StatusCode::FORBIDDEN, "sign_in_again"),
        Refusal::OwnAgent => (StatusCode::FORBIDDEN, "own_agent"),
        Refusal::NotEligible => (StatusCode::FORBIDDEN, "not_eligible"),
        Refusal::EscalatesLater { .. } => (StatusCode::FORBIDDEN, "escalates_later"),
        Refusal::OwnerUnknown(_) => (StatusCode::FORBIDDEN, "owner_unknown"),
        Refusal::ReasonRequired => (StatusCode::UNPROCESSABLE_ENTITY, "reason_required"),
        Refusal::CodeRequired(_) => (StatusCode::UNPROCESSABLE_ENTITY, "code_required"),
        Refusal::UnknownCode { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "unknown_code"),
        Refusal::NothingToWithdraw => (StatusCode::CONFLICT, "nothing_to_withdraw"),
        Refusal::AlreadyDecided => (StatusCode::CONFLICT, "already_decided"),
        Refusal::FactorsMet => (StatusCode::CONFLICT, "factors_met"),
    }
}

impl From<SignInError> for Failure {
    fn from(error: SignInError) -> Self {
        match &error {
            SignInError::Store(error) => Failure::of_store(error),
            SignInError::Random(error) => Failure::internal(error),
            SignInError::Wrong => Failure::new(StatusCode::FORBIDDEN, "wrong_sign_in", error),
            SignInError::Busy => Failure::new(StatusCode::SERVICE_UNAVAILABLE, "busy", error),
            SignInError::Wait(seconds) => {
                let failure = Failure::new(StatusCode::TOO_MANY_REQUESTS, "too_many_sign_ins", &error);
                Failure { retry_after: Some(*seconds), ..failure }
            }
        }
    }
}

impl From<OidcError> for Failure {
    fn from(error: OidcError) -> Self {
        let (status, word) = match &error {
            OidcError::Unavailable(_) => {
                tracing::error!(%error, "nobody can sign in at the provider");
                let detail = "the sign-in provider does not answer as it should; try again in some seconds";
                return Failure::new(StatusCode::SERVICE_UNAVAILABLE, "provider_unavailable", detail);
            }
            OidcError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            OidcError::State => (StatusCode::FORBIDDEN, NOT_ASKED),
            OidcError::OtherIssuer(_) => (StatusCode::FORBIDDEN, "sign_in_issuer"),
            OidcError::Denied(_) => (StatusCode::FORBIDDEN, "sign_in_denied"),
            OidcError::Refused(_) => (StatusCode::FORBIDDEN, "sign_in_refused"),
        };
        Failure::new(status, word, error)
    }
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        match &error {
            TokenError::Invalid(_) => Failure::new(StatusCode::UNAUTHORIZED, "invalid_token", error),
            TokenError::Client(_) => Failure::new(StatusCode::FORBIDDEN, "client_not_listed", error),
            TokenError::None => Failure::unauthorized(error),
            TokenError::Unavailable => Failure::new(StatusCode::SERVICE_UNAVAILABLE, "provider_unavailable", error),
        }
    }
}
