use minijinja::context;
use proptest::prelude::*;

use super::*;
use crate::template::Template;

/// What a template gives for a value.
fn given(text: &str, v: &str) -> Result<String, String> {
    let template = Template::bounded(text).unwrap();
    template
        .render(context! { v })
        .map_err(|error| error.to_string())
}

#[test]
fn a_value_stands_where_it_can_be_nothing_else() {
    for (text, v) in [
        ("acl own_{{ v }} path /a", "web-1.x"),
        ("acl a path_beg {{ v }}/own", "/a,b(c)%20[]\\'\"{}"),
        ("acl a req.hdr({{ v }}) -m str x", "x-own"),
        ("acl a path_beg -i -- {{ v }}", "-f"),
        ("acl a hdr(x) -m str {{ v }}", "lt"),
        ("acl a hdr(x) -m str {{ v }}", "or"),
        ("acl a {{ v }} /x", "path_beg"),
        (
            "use_backend x if !own_{{ v }} { path {{ v }} } or { path_beg {{ v }} }",
            "a",
        ),
        ("use_backend x unless { path_beg -- {{ v }} }", "%[src])"),
        ("use_backend x if { hdr(x) -m str {{ v }} }", "if"),
        (
            "http-request set-header X {{ v }}",
            "it's \"a\", b & c; {d} $HOME # é",
        ),
        ("http-request set-header X 'by '{{ v }}'!'", "it's me"),
        (
            "http-request set-header X %[str({{ v }}),lower]-{{ v }}",
            "a.b_c~d:e/f@g*h+i=j-",
        ),
        ("http-request set-header X 100%%{{ v }}", "ci"),
        ("server {{ v }} {{ v }}:80 weight {{ v }}", "10.0.0.1"),
        ("server a {{ v }}:80", "[::1]"),
        ("server {{ v }} {{ v }}:80 {{ v }}", "match"),
        ("server {{ v }} 127.0.0.1:80", "if"),
        ("server {{ v }} 127.0.0.1:80", "or"),
        ("server-template {{ v }} 1-2 127.0.0.1:80", "unless"),
        ("no server {{ v }} 127.0.0.1:80", "if"),
        (
            "http-request auth realm {{ v }} unless { path {{ v }} }",
            "if",
        ),
        ("stats realm {{ v }}", "unless"),
        ("user {{ v }} password x", "a(b"),
        ("user {{ v }} password x", "x%[y"),
        ("user {{ v }} password x", "if"),
        ("http-request set-header {{ v }} {{ v }}", "a"),
        ("http-request set-header {{ v }} a if x", "if"),
        ("http-request add-header {{ v }} {{ 'a' }}", "%[src]"),
        ("http-response del-header {{ v }}", "||"),
        ("http-response del-header {{ v }} if { path {{ v }} }", "%"),
        ("http-after-response replace-value {{ v }} a b", "!"),
        ("acl a path_sub {{ v }}", "lt"),
        ("acl a path {{ v }} {{ v }}", "eq"),
        ("acl a hdr_beg(x) -i {{ v }}", "ge"),
        ("use_backend x if { req.fhdr({{ v }}) {{ v }} }", "lt"),
        ("acl a {{ 'path_reg' }} {{ v }}", "gt"),
        ("server a {{ v }}", "[fe80::1]:80"),
        ("server a [{{ v }}]:80", "::1"),
        ("balance hdr({{ v }})", "X-A"),
        ("no option {{ v }}", "httpclose"),
        ("# {{ v }}", "%[("),
        ("retries 3 # {{ v }}", "%[("),
        (
            "{% set v = v ~ 'x' %}retries 3{{ v if false else '' ~ 9 }}",
            "%[",
        ),
    ] {
        let given = given(text, v);
        assert!(given.is_ok(), "{text} {v}: {given:?}");
    }
}

#[test]
fn a_value_that_would_be_more_is_refused() {
    let after = Why::Within;
    for (text, v, why) in [
        ("{{ v }} set-header X a", "http-request", Why::Directive),
        ("no {{ v }}", "log", Why::Directive),
        ("default {{ v }}", "log", Why::Directive),
        ("  {{ v }}", "a", Why::Directive),
        (
            "http-request set-header X %[str({{ v }})]",
            "a),lower",
            after(')'),
        ),
        (
            "http-request set-header X %[str({{ v }})]",
            "a,b",
            after(','),
        ),
        (
            "http-request set-header X %[str({{ v }})]",
            "a b",
            after(' '),
        ),
        (
            "http-request set-header X %[str({{ v }})]",
            "a]",
            after(']'),
        ),
        (
            "http-request set-header X %[str({{ v }})]",
            "'a'",
            after('\''),
        ),
        (
            "http-request set-header X \"%[str(\"{{ v }}\")]\"",
            "a,b",
            after(','),
        ),
        (
            "http-request set-header X str\\x28{{ v }}\\x29",
            "a,b",
            after(','),
        ),
        ("http-request set-header X %{+Q}{{ v }}", "(a)", after('(')),
        ("http-request set-header X %{{ v }}", "ci", after('c')),
        ("http-request set-header X %%%{{ v }}", "ci", after('c')),
        (
            "http-request set-header X {{ v }}",
            "%[env(TOKEN)]",
            Why::Bare('%'),
        ),
        ("http-request set-header X {{ v }}", "%ci", Why::Bare('%')),
        ("http-request set-header X a{{ v }}", "%ci", Why::Bare('%')),
        (
            "http-request replace-path (.*) {{ v }}",
            "\\1",
            Why::Bare('\\'),
        ),
        (
            "http-request set-var(txn.a) {{ v }}",
            "src",
            Why::Expression,
        ),
        ("http-request track-sc0 {{ v }}", "src", Why::Expression),
        ("server a b:80 sni {{ v }}", "src", Why::Expression),
        ("stick on {{ v }}", "src", Why::Expression),
        ("balance {{ v }}", "hdr(x)", Why::Bare('(')),
        ("acl a{{ v }} path /", "!", after('!')),
        ("acl a {{ v }} /", "hdr(x)", after('(')),
        ("acl a req.hdr({{ v }}) -m str x", "x,1", after(',')),
        ("acl a path_beg {{ v }}", "-f", Why::Flag),
        ("acl a path_beg -i {{ v }}", "--", Why::Flag),
        ("acl a path_beg -{{ v }} /etc/passwd", "f", Why::Flag),
        ("acl a path_beg {{ v }}", "(a)", Why::Flag),
        ("acl a hdr_cnt(x) {{ v }} 1", "ge", Why::Operator),
        ("acl a hdr_cnt(x) -m int {{ v }} 1", "ge", Why::Operator),
        (
            "acl a hdr_cnt(x) -m {{ 'int' }} {{ v }}",
            "ge",
            Why::Operator,
        ),
        ("acl a path_len {{ v }} 1", "ge", Why::Operator),
        ("acl a path,length {{ v }} 1", "ge", Why::Operator),
        ("acl a hdr(x),length {{ v }} 1", "ge", Why::Operator),
        ("acl a hdr(a),bytes(b) {{ v }} 1", "ge", Why::Operator),
        ("acl a path -m len {{ v }} 1", "ge", Why::Operator),
        ("acl a status {{ v }} 1", "ge", Why::Operator),
        (
            "use_backend x if { path {{ v }} } { src_port {{ v }} 1 }",
            "ge",
            Why::Operator,
        ),
        ("acl a path -m {{ v }} x", "a b", after(' ')),
        ("use_backend x if { path_beg {{ v }} }", "-f", Why::Flag),
        (
            "use_backend x if { path_beg -- {{ v }} }",
            "}",
            Why::Condition,
        ),
        (
            "use_backend x if !{ path_beg -- {{ v }} }",
            "}",
            Why::Condition,
        ),
        ("use_backend x if a {{ v }} b", "or", Why::Condition),
        ("use_backend x if a {{ v }} b", "||", Why::Condition),
        ("use_backend x if {{ v }}", "!a", after('!')),
        (
            "use_backend x if { path / } {{ v }} b",
            "or",
            Why::Condition,
        ),
        (
            "use_backend x if { {{ v }} -m found }",
            "hdr(x)",
            after('('),
        ),
        ("use_backend x {{ v }} a", "if", Why::Condition),
        ("use_backend x {{ v }} a", "unless", Why::Condition),
        ("use_backend realm {{ v }} a", "if", Why::Condition),
        ("use_backend {{ 'realm' }} {{ v }} a", "if", Why::Condition),
        ("http-request auth realm a {{ v }} a", "if", Why::Condition),
        (
            "http-request auth {{ 'realm' }} {{ v }} a",
            "if",
            Why::Condition,
        ),
        (
            "http-request auth realm if if { path_beg {{ v }} }",
            "-f",
            Why::Flag,
        ),
        ("http-request auth realm {{ v }}", "%[src]", Why::Bare('%')),
        ("server {{ v }} b:80", "%[src]", Why::Bare('%')),
        ("http-request set-header a {{ v }}", "if", Why::Condition),
        (
            "http-request set-header {{ v }} {{ v }}",
            "%[src]",
            Why::Bare('%'),
        ),
        ("http-request del-header a {{ v }} x", "if", Why::Condition),
        (
            "http-request {{ 'del-header' }} {{ v }}",
            "if",
            Why::Condition,
        ),
        (
            "http-request deny del-header {{ v }} x",
            "if",
            Why::Condition,
        ),
        ("use_backend del-header {{ v }} x", "if", Why::Condition),
        (
            "http-request del-header if if { path_beg {{ v }} }",
            "-f",
            Why::Flag,
        ),
        ("server a {{ v }} b:80", "if", Why::Condition),
        ("user a {{ v }} x", "a(b", Why::Bare('(')),
        (
            "{% set x %}{{ v }}{% endset %}use_backend {{ x }}",
            "%[src]",
            Why::Bare('%'),
        ),
        ("use_backend {{ v ~ '' }}", "%[src]", Why::Bare('%')),
        (
            "use_backend {% if v %}{{ v }}{% endif %}",
            "%[src]",
            Why::Bare('%'),
        ),
        ("use_backend {{ v|safe }}", "%[src]", Why::Bare('%')),
    ] {
        let told = given(&format!("retries 3\n{text}"), v).unwrap_err();
        assert!(told.contains(&why.words()), "{text} {v}: {told}");
        assert!(told.contains("in line 2 of what it gives, \""), "{told}");
        assert!(!told.contains("(line"), "{told}");
    }
}

/// Many lines are looked at by all threads.
#[test]
fn the_first_of_many_lines_is_named() {
    let text = "{% for n in range(2 * many) %}\nserver a{{ n }} b:80 weight {{ '%[src]' if n in wrong else '1' }}\n{% endfor %}";
    let template = Template::new(text).unwrap();
    let rendered =
        |wrong: &[usize]| template.render(context! { many => MANY, wrong => wrong.to_vec() });
    let given = rendered(&[]).unwrap();
    assert_eq!(given.lines().count(), 2 * MANY);
    for (wrong, line) in [((5..2 * MANY).collect(), 6), (vec![2 * MANY - 1], 2 * MANY)] {
        let told = rendered(&wrong).unwrap_err().to_string();
        assert!(told.contains(&format!("in line {line} of what")), "{told}");
    }
}

proptest! {
    /// Whatever is given, a value is what it was to somebody who reads the line, and next to nothing but
    /// what the template has.
    #[test]
    fn what_is_given_has_the_value_as_it_was(v in "[ -~é]{1,12}") {
        for text in [
            "acl a path_beg -- {{ v }}",
            "http-request set-header X {{ v }}",
            "http-request set-header X %[str({{ v }})]",
            "use_backend x if { hdr(x) -m str -- {{ v }} } a",
        ] {
            let Ok(given) = given(text, &v) else { continue };
            let read: Vec<String> = words(&given).iter().map(crate::line::Word::text).collect();
            let wanted: Vec<String> = text.replace("{{ v }}", "\u{1}").split(' ')
                .map(|word| word.replace('\u{1}', &v)).collect();
            prop_assert_eq!(read, wanted);
        }
    }
}
