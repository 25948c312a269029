//! What a service and its destinations ask for beside their routes, under Docker Flow Proxy's names. A
//! list that is empty there is null.

use proxy_core::{
    DefaultBackend, DestinationOptions, ForwardedProto, PathRewrite, PlainHttp, Seconds,
    ServiceOptions, ServiceTemplate,
};
use serde_json::{Map, Value, json};

pub(super) fn add_to_service(fields: &mut Map<String, Value>, options: &ServiceOptions) {
    let headers = &options.headers;
    let rewrite = options.rewrites.first();
    let extra: Vec<&str> = options.backend_extra.iter().collect();
    add(
        fields,
        json!({
            "AddReqHeader": list(&headers.add_request),
            "SetReqHeader": list(&headers.set_request),
            "DelReqHeader": list(&headers.delete_request),
            "AddResHeader": list(&headers.add_response),
            "SetResHeader": list(&headers.set_response),
            "DelResHeader": list(&headers.delete_response),
            "BackendExtra": extra.join("\n"),
            "TemplateFePath": path(&options.templates.frontend),
            "TemplateBePath": path(&options.templates.backend),
            "CompressionAlgo": words(&options.compression.algos),
            "CompressionType": words(&options.compression.types),
            "ConnectionMode": options.connection_mode.map(|mode| mode.as_str()).unwrap_or_default(),
            "IsDefaultBackend": options.default_backend == DefaultBackend::Yes,
            "RedirectWhenHttpProto": options.forwarded_proto == ForwardedProto::RedirectHttp,
            "RedirectUnlessHttpsProto": options.forwarded_proto == ForwardedProto::RedirectUnlessHttps,
            "ReqPathSearch": rewrite.map(PathRewrite::search).unwrap_or_default(),
            "ReqPathReplace": rewrite.map(PathRewrite::replace).unwrap_or_default(),
        }),
    );
}

pub(super) fn add_to_destination(fields: &mut Map<String, Value>, options: &DestinationOptions) {
    let pairs = options.rewrites.iter();
    let pairs: Vec<_> = pairs
        .map(|rewrite| format!("{},{}", rewrite.search(), rewrite.replace()))
        .collect();
    let redirected = options.domain_redirect.as_ref();
    let redirected = redirected
        .map(|redirect| redirect.from())
        .unwrap_or_default();
    let seconds = |length: Option<Seconds>| length.map(|length| length.get().to_string());
    add(
        fields,
        json!({
            "AllowedMethods": list(&options.methods.allowed),
            "DeniedMethods": list(&options.methods.denied),
            "DenyHttp": options.redirects.plain_http == PlainHttp::Denied,
            "HttpsOnly": options.redirects.plain_http == PlainHttp::Redirected,
            "HttpsRedirectCode": options.redirects.redirect_code.as_str(),
            "RedirectFromDomain": list(redirected),
            "ReqPathSearchReplace": pairs.join(":"),
            "TimeoutServer": seconds(options.timeouts.server).unwrap_or_default(),
            "TimeoutTunnel": seconds(options.timeouts.tunnel).unwrap_or_default(),
        }),
    );
}

fn add(fields: &mut Map<String, Value>, more: Value) {
    if let Value::Object(more) = more {
        fields.extend(more);
    }
}

fn list<T: ToString>(items: &[T]) -> Option<Vec<String>> {
    (!items.is_empty()).then(|| items.iter().map(ToString::to_string).collect())
}

fn path(template: &Option<ServiceTemplate>) -> &str {
    template
        .as_ref()
        .map(ServiceTemplate::path)
        .unwrap_or_default()
}

fn words<T: ToString>(items: &[T]) -> String {
    list(items).unwrap_or_default().join(" ")
}
