//! The findings that authors are told, each with a code that never changes its meaning.
//!
//! HG001 to HG099 make a file unreadable or a rule meaningless, HG100 to HG199 are errors that show when all is looked at
//! together, and HG200 to HG299 are warnings. A code that is no longer used is not given to anything else.

use std::fmt;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nothing is built.
    Error,
    /// The policy is sound, and probably not what its author wants.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        })
    }
}

macro_rules! codes {
    ($($code:ident $id:literal $severity:ident $title:literal;)*) => {
        /// A kind of finding.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = $title] $code,)*
        }

        impl Code {
            /// All codes, in the order of their ids.
            pub const ALL: &'static [Code] = &[$(Code::$code),*];

            /// The stable name, such as `HG001`.
            pub fn id(self) -> &'static str {
                match self { $(Code::$code => $id),* }
            }

            /// What is wrong, in a few words that hold for every finding of this code.
            pub fn title(self) -> &'static str {
                match self { $(Code::$code => $title),* }
            }

            pub fn severity(self) -> Severity {
                match self { $(Code::$code => Severity::$severity),* }
            }
        }
    };
}

codes! {
    NotUtf8 "HG001" Error "not UTF-8";
    ControlCharacter "HG002" Error "control character";
    TooLarge "HG003" Error "file too large";
    NotYaml "HG004" Error "not YAML";
    TooDeep "HG005" Error "nested too deep";
    EmptyFile "HG006" Error "empty file";
    SeveralDocuments "HG007" Error "several documents in one file";
    AnchorOrTag "HG008" Error "anchor, alias or tag of YAML";
    DuplicateKey "HG009" Error "duplicate key";
    UnknownKey "HG010" Error "unknown key";
    LaterKey "HG011" Error "key that this version does not evaluate";
    MissingKey "HG012" Error "missing key";
    WrongType "HG013" Error "value of the wrong type";
    Empty "HG014" Error "empty where something is needed";
    TwoReadings "HG015" Error "value with two readings in YAML";
    NumberTooLarge "HG016" Error "number too large to be compared";
    UnknownWord "HG017" Error "not one of the words that may stand here";
    NotAName "HG018" Error "not a name";
    UnknownFormat "HG019" Error "unknown format";
    NotADuration "HG020" Error "not a duration";
    DurationTooLong "HG021" Error "duration too long";
    NotAPointer "HG022" Error "not a JSON pointer";
    NoRules "HG023" Error "no rules";
    DuplicateRule "HG024" Error "duplicate rule id";
    DuplicatePolicy "HG025" Error "duplicate policy name";
    DuplicateTest "HG026" Error "duplicate name of a test";
    NotAControl "HG027" Error "not a control";
    Repeated "HG028" Error "the same twice in a list";
    UndeclaredRole "HG029" Error "undeclared role";
    NoApproval "HG030" Error "hold without approval";
    SuperfluousApproval "HG031" Error "approval of a rule that does not hold";
    NoTimeLimit "HG032" Error "approval without a time limit";
    NotAHeader "HG033" Error "not the name of a header";
    NotAMethod "HG034" Error "not a method";
    NotATemplate "HG035" Error "not a path template";
    RestNotLast "HG036" Error "`**` is not last in a path template";
    NoCondition "HG037" Error "entry without a condition";
    NotComparable "HG038" Error "nothing can be compared with this value";
    TextAttribute "HG039" Error "test that does not go with a text";
    MixedList "HG040" Error "list of values of several types";
    HostWithPort "HG041" Error "host with a port";
    AlwaysThere "HG042" Error "question whether something is there that always is";
    ForbiddenHeader "HG043" Error "header that rules cannot look at";
    BadRegex "HG044" Error "not a regular expression";
    RegexTooLarge "HG045" Error "regular expression too large";
    UnknownZone "HG046" Error "unknown time zone";
    NotATime "HG047" Error "not a time";
    EitherOr "HG048" Error "keys that need or exclude one another";
    TagDisagrees "HG049" Error "tag with two sources";
    AllowOnAssertedTag "HG050" Error "allow that rests on an asserted tag";
    NotCel "HG051" Error "not an expression";
    UnsupportedCel "HG052" Error "expression outside the subset of CEL";
    UnknownAttribute "HG053" Error "unknown attribute in `when`";
    WhenType "HG054" Error "wrong type in `when`";
    NotAPath "HG055" Error "not a path";
    Expectation "HG056" Error "expectation that nothing can meet";
    DuplicateProof "HG057" Error "duplicate id of a proof";
    NoSuchRate "HG058" Error "count for a rule without a rate";
    MoreFindings "HG059" Error "more findings than are shown";
    NotAcceptable "HG060" Error "not a warning that can be accepted";
    NoSuchRule "HG061" Error "test that names a rule which is not there";
    NoSuchRole "HG062" Error "test that names a role which is not declared";
    McpInWhen "HG063" Error "`when` asks for MCP and `match` does not";
    NotACode "HG064" Error "not a reason code";
    NotAShare "HG065" Error "not a share of the time limit";
    Internal "HG099" Error "mistake of holdgate itself";
    NoTests "HG100" Error "no tests";
    NeverMatches "HG101" Error "rule that no request can match";
    EntryNeverMatches "HG102" Error "entry that no request can match";
    TooFewPeople "HG103" Error "hold that nobody can approve";
    NeverDecides "HG200" Warning "rule that stricter rules always overrule";
    Redundant "HG201" Warning "redundant rule";
    OpensDenied "HG202" Warning "hold that opens what is denied by default";
    Advisory "HG203" Warning "advisory: an asserted tag avoids the rule";
    HoldsReads "HG204" Warning "hold that catches reads";
    NoScope "HG205" Warning "hold without a method, a path or a tool";
    ApprovesAll "HG206" Warning "one role approves everything";
    PlainRegex "HG207" Warning "regular expression where a plain test would do";
    NotIndexed "HG208" Warning "rule that no index reaches";
    Untested "HG209" Warning "rule without a test";
    NoControls "HG210" Warning "rule without controls";
    NoOwner "HG211" Warning "file without an owner";
    NothingToAccept "HG212" Warning "accepted finding that is not there";
    NotDecided "HG213" Warning "question that was not decided";
    MissingTested "HG214" Warning "test of something that is said to be missing";
    VacuousProof "HG215" Warning "proof about no request";
    NotUsed "HG216" Warning "declared and not used";
    NearTag "HG217" Warning "undeclared tag near a declared one";
    PointerMember "HG218" Warning "member whose name is a pointer";
    ColonSegment "HG219" Warning "segment with a colon in a path template";
    LiteralStar "HG220" Warning "star that stands for itself";
    EscalatesToFactor "HG221" Warning "escalation to a role that is a factor";
}

impl Code {
    /// Where the reference tells more.
    pub fn page(self) -> String {
        format!("policies/README.md#{}", self.id().to_lowercase())
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_and_tell_the_severity() {
        let ids: Vec<&str> = Code::ALL.iter().map(|code| code.id()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
        for code in Code::ALL {
            let number: u32 = code.id().strip_prefix("HG").and_then(|number| number.parse().ok()).unwrap_or_default();
            let expected = if number < 200 { Severity::Error } else { Severity::Warning };
            assert!((1..300).contains(&number) && code.severity() == expected, "{code}");
        }
        assert_eq!(Code::UnknownKey.page(), "policies/README.md#hg010");
    }

    #[test]
    fn every_code_has_its_page_in_the_reference() {
        let reference = include_str!("../../../policies/README.md");
        let pages: Vec<&str> = reference.lines().filter_map(|line| line.strip_prefix("### HG")).collect();
        let ids: Vec<&str> = Code::ALL.iter().filter_map(|code| code.id().strip_prefix("HG")).collect();
        assert_eq!(pages, ids);
        for code in Code::ALL {
            let (_, page) = reference.split_once(&format!("### {code}\n\n")).unwrap();
            let title = page.lines().next().unwrap().to_lowercase();
            assert!(title.starts_with(&code.title().to_lowercase()), "{code}: `{}` and `{title}`", code.title());
        }
    }
}
