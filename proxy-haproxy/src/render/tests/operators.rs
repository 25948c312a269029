//! A template of an operator, for the whole.

use super::*;

#[test]
fn a_template_of_the_user_is_used() {
    let template = Template::new(
        "{% for backend in backends %}\nbackend {{ backend.name }}\n    server {{ backend.server }} {{ backend.address }}\n{% endfor %}",
    );
    let settings = settings().with_template(template.unwrap());
    let table = table(&["serviceName=go-demo&servicePath=/demo&port=8080"]);
    let config = render(&table, &settings, &AddressBook::new()).unwrap();
    assert_eq!(
        config.main_text(),
        "backend go-demo-be8080\n    server go-demo go-demo:8080\n"
    );
    let bad = settings.with_template(Template::new("x\n{{ nothing }}").unwrap());
    let error = render(&table, &bad, &AddressBook::new()).unwrap_err();
    assert!(
        matches!(&error, RenderError::Template(template) if template.line() == 2),
        "{error:?}"
    );
}

#[test]
fn a_template_that_would_serve_what_is_denied_is_refused() {
    let template = |text: &str| {
        let text = text.to_owned();
        settings().with_template(Template::new(text).unwrap())
    };
    let denied = table(&["serviceName=a&servicePath=/a&port=80&deniedMethods=PUT"]);
    let open = table(&["serviceName=a&servicePath=/a&port=80"]);
    let old = "{% for backend in backends %}backend {{ backend.name }}{% endfor %}";
    let rendered = |table, text| render(table, &template(text), &AddressBook::new());
    assert!(matches!(
        rendered(&denied, old),
        Err(RenderError::TemplateWithoutOptions)
    ));
    assert!(rendered(&open, old).is_ok());
    let connections = table(&["serviceName=a&reqMode=tcp&srcPort=90&port=80"]);
    assert!(matches!(
        rendered(&connections, old),
        Err(RenderError::TemplateWithoutTcp)
    ));
    let users = format!("{{{{ userlists|length }}}}{old}");
    let mine = table(&["serviceName=a&servicePath=/a&port=80&users=ann:geheim"]);
    assert!(matches!(
        rendered(&mine, &users),
        Err(RenderError::TemplateWithoutUsers)
    ));
}

/// Anybody who may configure a service chooses them, and an operator's template writes them where it likes.
#[test]
fn a_value_in_a_template_of_the_whole_is_that_value_where_it_stands() {
    let rendered = |line: &str, query: &str| {
        let text = "{% for rule in rules %}{% for acl in rule.acls %}{% set v = acl['values'][0] %}"
            .to_owned()
            + line + "{% endfor %}{% endfor %}";
        let settings = settings().with_routing(Routing::Acl);
        let settings = settings.with_template(Template::new(text).unwrap());
        let table = table(&[&format!("serviceName=match&port=80&{query}")]);
        let config = render(&table, &settings, &AddressBook::new());
        config.map(|config| config.main_text().trim().to_owned())
    };
    let header = "http-request set-header X-Route {{ v }}";
    let path = |path: &str| format!("servicePath={path}");
    for (line, query, wanted) in [
        (header, path("/a,"), "http-request set-header X-Route /a"),
        (
            "acl x {{ acl.test[0] }} {{ v }}",
            path("/%25[env(TOKEN)]"),
            "acl x path_beg '/%[env(TOKEN)]'",
        ),
        (
            "use_backend {{ rule.backend }} if {{ rule.conditions[0] }}",
            path("/a"),
            "use_backend match-be80 if url_match80",
        ),
        // What the model gives as an expression is compared as the text that it is.
        (
            "{% if acl.test[0] == 'path_beg' and rule.conditions == ['url_match80'] %}retries 3{% endif %}",
            path("/a"),
            "retries 3",
        ),
        (
            "server {{ backends[0].server }} {{ backends[0].address }}",
            path("/a"),
            "server match match:80",
        ),
    ] {
        assert_eq!(rendered(line, &query).unwrap(), wanted, "{line}");
    }
    for (line, query, why) in [
        (header, path("/%25[env(TOKEN)]"), "has '%' written by {{ }}"),
        (
            "http-request set-header X-Route %[str({{ v }})]",
            path("/a)]%25[env(TOKEN)"),
            "has ')' written by {{ }}",
        ),
        (
            "acl x path_sub {{ v }}",
            path("-f&pathType=path_sub"),
            "begins like a flag",
        ),
        (
            "http-request deny if {{ v }}",
            path("!url_match80&pathType=path_sub"),
            "has '!' written by {{ }}",
        ),
        ("{{ v }} x", path("/a"), "says what the line does"),
    ] {
        let refused = rendered(line, &query).unwrap_err();
        assert!(
            matches!(&refused, RenderError::Template(told) if told.to_string().contains(why)),
            "{line}: {refused:?}"
        );
    }
}
