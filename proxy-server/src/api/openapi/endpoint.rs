//! One path of the document: by which methods it is called, with what, and what comes back.

use utoipa::openapi::{
    ContentBuilder, Header, HttpMethod, PathItem, Required, ResponseBuilder,
    path::{OperationBuilder, Parameter, PathItemBuilder},
    request_body::{RequestBody, RequestBodyBuilder},
    schema::Type,
    security::SecurityRequirement,
};

use super::{
    BASE,
    shape::{Described, of, reference, text},
};

/// Every method there is in the document, for what takes any.
pub(super) const ANY: [HttpMethod; 8] = [
    HttpMethod::Get,
    HttpMethod::Put,
    HttpMethod::Post,
    HttpMethod::Delete,
    HttpMethod::Head,
    HttpMethod::Options,
    HttpMethod::Patch,
    HttpMethod::Trace,
];

/// One path, or what several of its methods have in common.
pub(super) struct Endpoint {
    path: String,
    about: &'static str,
    methods: Vec<HttpMethod>,
    parameters: Vec<Parameter>,
    /// What it carries, and by which methods.
    body: Option<(RequestBody, Vec<HttpMethod>)>,
    answers: Vec<(u16, Form)>,
    is_open: bool,
    headers: Vec<(u16, &'static str, &'static str)>,
    /// What a status means here, where it is something else than elsewhere.
    meanings: Vec<(u16, &'static str)>,
}

/// How an answer is written.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// JSON, by the name of its schema.
    Json(&'static str),
    /// Text of this media type.
    Text(&'static str),
    /// The one or the other, as `type` says.
    Either(&'static str),
    /// JSON that is described elsewhere.
    Document,
    /// The status alone.
    Nothing,
}

const PLAIN: &str = "text/plain";
const JSON: &str = "application/json";
const REFUSAL: Form = Form::Json("Refusal");

// === impl Endpoint ===

impl Endpoint {
    /// Below the path of the API.
    pub(super) fn below(name: &str, about: &'static str, methods: &[HttpMethod]) -> Self {
        Self::at(&format!("{BASE}/{name}"), about, methods).refuses(&[401])
    }

    /// At the root.
    pub(super) fn at(path: &str, about: &'static str, methods: &[HttpMethod]) -> Self {
        Self {
            path: path.to_owned(),
            about,
            methods: methods.to_vec(),
            parameters: Vec::new(),
            body: None,
            answers: Vec::new(),
            is_open: false,
            headers: Vec::new(),
            meanings: Vec::new(),
        }
    }

    pub(super) fn takes(mut self, more: impl IntoIterator<Item = Parameter>) -> Self {
        for parameter in more {
            if self.parameters.iter().all(|it| it.name != parameter.name) {
                self.parameters.push(parameter);
            }
        }
        self
    }

    pub(super) fn body(
        mut self,
        kind: &str,
        schema: Described,
        required: Required,
        methods: &[HttpMethod],
    ) -> Self {
        let content = ContentBuilder::new().schema(Some(schema)).build();
        let body = RequestBodyBuilder::new().content(kind, content);
        let body = body.required(Some(required)).build();
        self.body = Some((body, methods.to_vec()));
        self
    }

    pub(super) fn answers(mut self, statuses: &[u16], form: Form) -> Self {
        self.answers
            .extend(statuses.iter().map(|status| (*status, form)));
        self
    }

    pub(super) fn refuses(self, statuses: &[u16]) -> Self {
        self.answers(statuses, REFUSAL)
    }

    pub(super) fn header(mut self, status: u16, name: &'static str, about: &'static str) -> Self {
        self.headers.push((status, name, about));
        self
    }

    pub(super) fn means(mut self, status: u16, about: &'static str) -> Self {
        self.meanings.push((status, about));
        self
    }

    /// It needs no token.
    pub(super) fn open(mut self) -> Self {
        self.is_open = true;
        self.answers.retain(|(status, _)| *status != 401);
        self
    }

    /// The path, and what is there.
    pub(super) fn described(self) -> (String, PathItem) {
        // What all methods take is said once.
        let mut item = PathItemBuilder::new().parameters(Some(self.parameters.clone()));
        for method in &self.methods {
            item = item.operation(method.clone(), self.operation(method));
        }
        (self.path, item.build())
    }

    fn operation(&self, method: &HttpMethod) -> OperationBuilder {
        let name = self.path.trim_start_matches(BASE).trim_start_matches('/');
        let id = format!("{}_{}", verb(method), name.replace(['/', '.'], "_"));
        let mut operation = OperationBuilder::new()
            .operation_id(Some(id))
            .summary(Some(self.about));
        let mut answers = self.answers.clone();
        let body = self.body.as_ref();
        if let Some((body, _)) = body.filter(|(_, methods)| methods.contains(method)) {
            operation = operation.request_body(Some(body.clone()));
            answers.push((413, REFUSAL));
        }
        if self.is_open {
            operation = operation.securities(Some([SecurityRequirement::default()]));
        }
        for (status, form) in answers {
            let own = self.meanings.iter().find(|(of, _)| *of == status);
            let about = own.map_or_else(|| meaning(status), |(_, about)| about);
            let mut response = ResponseBuilder::new().description(about);
            for (kind, schema) in form.contents() {
                let content = ContentBuilder::new().schema(Some(schema)).build();
                response = response.content(kind, content);
            }
            for (_, name, about) in self.headers.iter().filter(|(of, ..)| *of == status) {
                let mut header = Header::new(text());
                header.description = Some((*about).to_owned());
                response = response.header(*name, header);
            }
            operation = operation.response(status.to_string(), response.build());
        }
        operation
    }
}

// === impl Form ===

impl Form {
    fn contents(self) -> Vec<(&'static str, Described)> {
        match self {
            Self::Json(name) => vec![(JSON, reference(name))],
            Self::Text(kind) => vec![(kind, text())],
            Self::Either(name) => vec![(JSON, reference(name)), (PLAIN, text())],
            Self::Document => vec![(JSON, of(Type::Object).into())],
            Self::Nothing => Vec::new(),
        }
    }
}

pub(super) fn verb(method: &HttpMethod) -> &'static str {
    match method {
        HttpMethod::Get => "get",
        HttpMethod::Put => "put",
        HttpMethod::Post => "post",
        HttpMethod::Delete => "delete",
        HttpMethod::Head => "head",
        HttpMethod::Options => "options",
        HttpMethod::Patch => "patch",
        HttpMethod::Trace => "trace",
    }
}

fn meaning(status: u16) -> &'static str {
    match status {
        200 => "Done; of a change, on every replica that was waited for.",
        202 => "Stored, with wait=none; live next.",
        400 => {
            "A parameter is wrong, or HAProxy would not take the configuration. Nothing was changed."
        }
        401 => "The token is missing or wrong. Nothing was changed.",
        403 => "The store denies it. Nothing was changed.",
        404 => "There is no such thing. Nothing was changed.",
        409 => {
            "It clashes with what is there, or says neither path nor domain. Nothing was changed."
        }
        410 => "That revision is no longer kept. Nothing was changed.",
        413 => "The body is too large. Nothing was changed.",
        415 => "The body is no form. Nothing was changed.",
        429 => "There were too many changes in the last seconds. Nothing was changed.",
        500 => "It did not go through.",
        501 => "This store keeps no history. Nothing was changed.",
        502 => "Stored, but not live here, or not confirmed by every replica in time.",
        503 => "It cannot be done now; try again. Nothing was changed.",
        504 => "It may or may not be stored; `status?id=` tells once a store answers.",
        _ => "",
    }
}
