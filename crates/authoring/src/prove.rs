//! Proofs: that a verdict never, or always, comes out for the requests of a region.

use holdgate_engine::{Atom, Policy, Verdict};
use holdgate_protocol::bundle::Effect;

use crate::{
    proof::{Claim, Proof},
    solve::{Answer, Budget, Goal, Solver, Truths, Witness, effect_of},
};

/// What came of a proof.
#[derive(Clone, Debug, PartialEq)]
pub enum ProofResult {
    /// There is no request to the contrary.
    Proved { steps: u64 },
    /// This request is to the contrary: the engine decides so, by this rule (`None`: no rule matched).
    Refuted { witness: Box<Witness>, verdict: Effect, rule: Option<String> },
    /// There is a request to the contrary if comparisons of two attributes can come out like this.
    PossibleIf { conditions: Vec<String>, example: Box<Witness> },
    /// It was not found out within the budget, and why.
    Unknown { why: String },
}

impl Claim {
    fn permits(self, effect: Effect) -> bool {
        match self {
            Claim::Never(never) => effect != never,
            Claim::Always(always) => effect == always,
        }
    }
}

/// Whether a proof is about no request at all, so that it holds whatever the policy says.
pub fn is_vacuous(solver: &Solver, proof: &Proof) -> bool {
    let given = proof.given.as_deref().unwrap_or_default();
    let region = given.iter().map(|atom| solver.leaves().leaf(atom, false, Effect::Deny, Truths::TRUE));
    let goals: Vec<Goal> = region.collect();
    let counts = given.iter().any(|atom| matches!(atom, Atom::Rate(_)));
    !counts && solver.ask(&goals, |_| true) == Answer::No
}

/// Proves or refutes what a proof claims of a policy.
///
/// What is taken for granted of requests is said at [`Solver`].
pub fn prove(policy: &Policy, proof: &Proof, budget: Budget) -> ProofResult {
    prove_with(&Solver::new(budget), policy, proof)
}

/// The same with a solver that has worked on this policy before, which saves time.
pub fn prove_with(solver: &Solver, policy: &Policy, proof: &Proof) -> ProofResult {
    let given = proof.given.as_deref().unwrap_or_default();
    if given.iter().any(|atom| matches!(atom, Atom::Rate(_))) {
        return ProofResult::Unknown { why: "a region cannot be told by a rate: no rule counts there".into() };
    }
    let leaves = solver.leaves();
    let region = given.iter().map(|atom| leaves.leaf(atom, false, Effect::Deny, Truths::TRUE));
    let contrary = match proof.claim {
        Claim::Never(effect) => leaves.verdict(policy, effect, true),
        Claim::Always(effect) => leaves.verdict(policy, effect, false),
    };
    let goals: Vec<Goal> = region.chain([contrary]).collect();
    let verdict_on = |witness: &Witness| witness.with_request(policy, |request| policy.evaluate(request));
    let before = solver.steps();
    let answer = solver.ask(&goals, |witness| {
        let in_region = witness.with_request(policy, |request| {
            given.iter().all(|atom| Truths::TRUE.has(atom.truth(Effect::Deny, request)))
        });
        in_region && !proof.claim.permits(effect_of(verdict_on(witness)))
    });
    match answer {
        Answer::No => ProofResult::Proved { steps: solver.steps().saturating_sub(before) },
        Answer::Yes(witness) => {
            let verdict = verdict_on(&witness);
            let rule = match verdict {
                Verdict::Allow(index) | Verdict::Hold(index) | Verdict::Deny(Some(index)) => Some(index),
                Verdict::Deny(None) => None,
            };
            let rule = rule.map(|index| policy.rule(index).id.clone());
            ProofResult::Refuted { witness, verdict: effect_of(verdict), rule }
        }
        Answer::PossibleIf { conditions, example } => ProofResult::PossibleIf { conditions, example },
        Answer::Unknown(why) => ProofResult::Unknown { why },
    }
}
