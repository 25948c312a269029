//! What is wrong with where a value came to stand, in words.

/// A value that HAProxy would not read as one.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::template) struct Misplaced {
    /// The line of what the template gives, from 1.
    pub(in crate::template) line: usize,
    /// The word that the value is, or is a part of.
    pub(in crate::template) word: String,
    pub(in crate::template) why: Why,
}

/// What is wrong with the place of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::template) enum Why {
    /// It says what the line is about.
    Directive,
    /// A character that ends, or goes on, where something else stands in the word.
    Within(char),
    /// A character that begins an expression or a reference.
    Bare(char),
    /// It would be an expression.
    Expression,
    /// It would be a flag.
    Flag,
    /// It would be a part of the condition.
    Condition,
    /// It would compare numbers.
    Operator,
}

// === impl Why ===

impl Why {
    /// What is wrong, and what to write.
    pub(in crate::template) fn words(self) -> String {
        match self {
            Self::Directive => {
                "is written by {{ }} and says what the line does; that must stand in the template itself".to_owned()
            }
            Self::Within(c) => format!(
                "has {c:?} written by {{{{ }}}}, which stands in an expression, a name or behind a %; there a value may hold letters, digits and . _ ~ : / @ * + = - alone"
            ),
            Self::Bare(c) => format!(
                "has {c:?} written by {{{{ }}}}, with which HAProxy may begin an expression; a value may hold it as a pattern of an acl alone"
            ),
            Self::Expression => {
                "is written by {{ }}, where HAProxy takes an expression; write str() around it"
                    .to_owned()
            }
            Self::Flag => {
                "begins like a flag and has something in it that {{ }} writes; write -- before the patterns".to_owned()
            }
            Self::Condition => {
                "is written by {{ }} and is a part of conditions to HAProxy; write it in the template itself, with {% if %} where it depends".to_owned()
            }
            Self::Operator => {
                "is written by {{ }} and compares numbers to HAProxy; write -m str before it"
                    .to_owned()
            }
        }
    }
}
