//! Any bytes as a rule file: findings or a policy that loads, never a panic, and the same twice.
#![no_main]

use holdgate_authoring::{compile, run_tests};
use holdgate_engine::Policy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match compile(&[("fuzz.yaml", text)]) {
        Ok(compilation) => {
            let bundle = compilation.build("fuzz", 1).expect("what compiles can be built");
            let policy = Policy::load(&bundle).expect("what was built can be loaded");
            run_tests(&compilation, &policy);
            let again = compile(&[("fuzz.yaml", text)]).expect("the same text compiles again");
            assert_eq!(again.build("fuzz", 1).expect("and builds again"), bundle, "the same bytes come out");
        }
        Err(findings) => {
            assert!(!findings.is_empty(), "a refusal says why");
            for finding in findings {
                assert!(!finding.to_string().is_empty());
            }
        }
    }
});
