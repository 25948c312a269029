use proxy_core::{Params, RouteTable, parse_reconfigure};

use super::*;
use crate::{AddressBook, RenderSettings, RunPath, render::whole};

/// Services of every kind of backend that the template tells apart.
fn table(count: usize) -> RouteTable {
    let kinds = [
        "",
        "&outboundHostname=h.acme.com",
        "&addReqHeader=X-A%20a&backendExtra=retries%202",
        "&users=admin:secret",
        "&httpsOnly=true&sessionType=sticky-server",
    ];
    let query = |nth: usize| {
        let kind = kinds.get(nth % kinds.len()).unwrap();
        format!("serviceName=s{nth}&servicePath=/s{nth}&port=80{kind}")
    };
    let service = |query: String| {
        let params = Params::from_query(&query).unwrap();
        parse_reconfigure(&params).unwrap().value.service
    };
    (0..count).map(query).map(service).collect()
}

fn settings(template: &str) -> RenderSettings {
    RenderSettings::new(RunPath::new("/r").unwrap())
        .with_nameservers(vec!["127.0.0.11:53".parse().unwrap()])
        .with_template(Template::new(template).unwrap())
}

fn rendered(table: &RouteTable, template: &str, sections: &mut Sections) -> String {
    let whole = whole(table, &settings(template), &AddressBook::new(), sections);
    whole.unwrap().config.main_text().to_owned()
}

#[test]
fn parts_make_what_the_whole_template_makes() {
    // The same text to the engine, and not the suite's own.
    let whole = format!("{}{{# #}}", Template::DEFAULT_TEXT);
    for count in [0, 1, 40, MANY + 500] {
        let table = table(count);
        let in_parts = rendered(&table, Template::DEFAULT_TEXT, &mut Sections::default());
        let at_once = rendered(&table, &whole, &mut Sections::default());
        assert!(
            in_parts == at_once,
            "with {count} services:\n{in_parts}\n---\n{at_once}"
        );
    }
}

#[test]
fn what_stays_as_it_is_is_not_rendered_again() {
    let mut sections = Sections::default();
    let places = |sections: &Sections| -> Vec<_> {
        let groups = sections.groups.iter();
        groups.map(|group| group.text.as_ptr()).collect()
    };
    let before = table(400);
    let first = rendered(&before, Template::DEFAULT_TEXT, &mut sections);
    let known = places(&sections);
    assert!(known.len() > 4, "{} groups", known.len());

    let after = table(401);
    let second = rendered(&after, Template::DEFAULT_TEXT, &mut sections);
    let new = places(&sections);
    let rendered_again = new.iter().filter(|place| !known.contains(place)).count();
    assert!(rendered_again <= 2, "{rendered_again} of {}", new.len());
    let anew = rendered(&after, Template::DEFAULT_TEXT, &mut Sections::default());
    assert_eq!(second, anew);
    let back = rendered(&before, Template::DEFAULT_TEXT, &mut sections);
    assert_eq!(back, first);
}
