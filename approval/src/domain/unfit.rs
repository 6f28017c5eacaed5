//! Access tokens with which nobody can decide.

/// Why an access token does not stand for a person who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("the token was issued to somebody who acts for another (`act`); only the person can do this")]
    Actor,
    #[error("the token is a client's own, and no person signed in for it")]
    Client,
    #[error("the token does not say when a person signed in for it (`auth_time`)")]
    NoSignIn,
}
