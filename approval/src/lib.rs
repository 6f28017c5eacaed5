//! The approval service: durable holds, reviewers' decisions, grants, the ledger, and the reviewers' console.

pub mod cli;
pub mod clock;
pub mod config;
pub mod directory;
pub mod domain;
pub mod http;
pub mod keys;
pub mod meters;
pub mod notices;
pub mod oidc;
pub mod policy;
pub mod random;
pub mod sealing;
pub mod service;
pub mod store;
pub mod yaml;
