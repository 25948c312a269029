//! The list itself.

use super::{
    Parameter,
    ParameterKind::{self, Choice, Flag, List, Name, Number, Secret, Text},
    ParameterStanding, of_destination, of_service,
};
use crate::{
    field::BOOL_GRAMMAR,
    mode::MAX_SECONDS,
    name::NAME_GRAMMAR,
    reconfigure::{
        ALGO_GRAMMAR as DOMAIN_ALGO_GRAMMAR, connections, destination, options, templates,
        upstream, users,
    },
    upstream::MAX_REPLICAS,
    users::USERS_GRAMMAR,
};

const COMMA: ParameterKind = List(",");
const PORT: ParameterKind = Number {
    least: 1,
    most: 65_535,
};
const SECONDS: ParameterKind = Number {
    least: 1,
    most: MAX_SECONDS,
};

/// Every parameter of a `reconfigure`.
pub const PARAMETERS: &[Parameter] = &[
    of_service(
        "serviceName",
        Name,
        NAME_GRAMMAR,
        "the service; its host name unless outboundHostname says another",
    ),
    of_service(
        "aclName",
        Name,
        NAME_GRAMMAR,
        "the name in HAProxy's configuration, and the last tie-break between routes; the service's name unless given",
    ),
    of_service(
        "serviceColor",
        Name,
        NAME_GRAMMAR,
        "where servers come from the catalog: the service <name>-<color> is looked up there",
    ),
    of_service(
        "distribute",
        Flag,
        BOOL_GRAMMAR,
        "waits until every replica serves it: wait=all",
    ),
    of_service(
        "replicas",
        Number {
            least: 0,
            most: MAX_REPLICAS as u32,
        },
        upstream::REPLICAS_GRAMMAR,
        "how many replicas the service has; 0 removes the service",
    ),
    of_service(
        "proxyInstanceName",
        Text,
        "a text",
        "the proxy that the service is for, where FILTER_PROXY_INSTANCE_NAME is on",
    ),
    of_service(
        "discoveryType",
        Choice(&["host", "DNS", "catalog"]),
        upstream::DISCOVERY_GRAMMAR,
        "where servers come from: one by its name, the addresses of a name, or Consul's catalog",
    ),
    of_service(
        "checkResolvers",
        Flag,
        BOOL_GRAMMAR,
        "HAProxy checks the server; CHECK_RESOLVERS unless given",
    ),
    of_service(
        "skipCheck",
        Flag,
        BOOL_GRAMMAR,
        "whatever is registered in the catalog becomes a server, and HAProxy checks none",
    ),
    of_service(
        "sessionType",
        Choice(&["sticky-server"]),
        upstream::SESSION_GRAMMAR,
        "clients stay with the server that answered them first, by a cookie",
    ),
    of_service(
        "serviceDomainAlgo",
        Choice(&[
            "hdr(host)",
            "hdr_beg(host)",
            "hdr_end(host)",
            "hdr_sub(host)",
            "hdr_dom(host)",
        ]),
        DOMAIN_ALGO_GRAMMAR,
        "how domains are compared; SERVICE_DOMAIN_ALGO unless given",
    ),
    of_service(
        "serviceDomainMatchAll",
        Flag,
        BOOL_GRAMMAR,
        "the same as serviceDomainAlgo=hdr_dom(host)",
    )
    .standing(ParameterStanding::Older("serviceDomainAlgo")),
    of_service(
        "isDefaultBackend",
        Flag,
        BOOL_GRAMMAR,
        "takes the requests that no route takes",
    ),
    of_service(
        "addReqHeader",
        COMMA,
        options::LINES_GRAMMAR,
        "headers to add to requests",
    ),
    of_service(
        "addHeader",
        COMMA,
        options::LINES_GRAMMAR,
        "the same as addReqHeader",
    )
    .standing(ParameterStanding::Older("addReqHeader")),
    of_service(
        "setReqHeader",
        COMMA,
        options::LINES_GRAMMAR,
        "headers to set in requests",
    ),
    of_service(
        "setHeader",
        COMMA,
        options::LINES_GRAMMAR,
        "the same as setReqHeader",
    )
    .standing(ParameterStanding::Older("setReqHeader")),
    of_service(
        "delReqHeader",
        COMMA,
        options::NAMES_GRAMMAR,
        "headers to delete from requests",
    ),
    of_service(
        "addResHeader",
        COMMA,
        options::LINES_GRAMMAR,
        "headers to add to responses",
    ),
    of_service(
        "setResHeader",
        COMMA,
        options::LINES_GRAMMAR,
        "headers to set in responses",
    ),
    of_service(
        "delResHeader",
        COMMA,
        options::NAMES_GRAMMAR,
        "headers to delete from responses",
    ),
    of_service(
        "redirectWhenHttpProto",
        Flag,
        BOOL_GRAMMAR,
        "redirects requests whose X-Forwarded-Proto is http to https",
    ),
    of_service(
        "redirectUnlessHttpsProto",
        Flag,
        BOOL_GRAMMAR,
        "redirects requests whose X-Forwarded-Proto is not https to https",
    ),
    of_service(
        "connectionMode",
        Choice(&[
            "http-keep-alive",
            "http-server-close",
            "httpclose",
            "forceclose",
        ]),
        options::MODE_GRAMMAR,
        "what becomes of connections after a request; forceclose is httpclose",
    ),
    of_service(
        "compressionAlgo",
        COMMA,
        options::ALGO_GRAMMAR,
        "how responses are compressed: gzip, deflate, raw-deflate or identity",
    ),
    of_service(
        "compressionType",
        COMMA,
        options::TYPE_GRAMMAR,
        "the media types that are compressed",
    ),
    of_service(
        "reqPathSearch",
        Text,
        options::REWRITE_GRAMMAR,
        "the regular expression that is replaced in the path, for all destinations",
    )
    .standing(ParameterStanding::Older("reqPathSearchReplace")),
    of_service(
        "reqPathReplace",
        Text,
        options::REWRITE_GRAMMAR,
        "what takes the place of reqPathSearch",
    )
    .standing(ParameterStanding::Older("reqPathSearchReplace")),
    of_service(
        "backendExtra",
        List("\n"),
        options::RAW_GRAMMAR,
        "lines of HAProxy's language at the end of the service's backends",
    ),
    of_service(
        "templateFePath",
        Text,
        templates::GRAMMAR,
        "a template of lines for the frontend that takes requests; paths may then be absent",
    ),
    of_service(
        "templateBePath",
        Text,
        templates::GRAMMAR,
        "a template of lines for the service's backends in place of servers; port may then be absent",
    ),
    of_service(
        "users",
        Secret,
        USERS_GRAMMAR,
        "who may use the service; USERS unless given",
    ),
    of_service(
        "usersSecret",
        Text,
        users::SECRET_GRAMMAR,
        "the secret file with users, or with the passwords of users",
    ),
    of_service(
        "usersPassEncrypted",
        Flag,
        BOOL_GRAMMAR,
        "these passwords are hashed, as crypt(3) has them",
    ),
    of_service(
        "serviceCert",
        Secret,
        "a certificate with its chain and its key, as PEM",
        "a certificate to keep under the service's first domain, as PEM with \\n for its line ends",
    ),
    of_service(
        "debug",
        Flag,
        BOOL_GRAMMAR,
        "the access log is one for all services",
    )
    .standing(ParameterStanding::NoEffect),
    of_service(
        "debugFormat",
        Text,
        "a text",
        "the access log is one for all services",
    )
    .standing(ParameterStanding::NoEffect),
    of_service(
        "consulTemplateFePath",
        Text,
        templates::INSTEAD,
        "a file of consul-template",
    )
    .standing(ParameterStanding::Refused),
    of_service(
        "consulTemplateBePath",
        Text,
        templates::INSTEAD,
        "a file of consul-template",
    )
    .standing(ParameterStanding::Refused),
    of_destination(
        "servicePath",
        COMMA,
        destination::PATH_GRAMMAR,
        "paths, as clients send them; / where a domain is given",
    ),
    of_destination(
        "pathType",
        Text,
        destination::KIND_GRAMMAR,
        "how paths are compared; with reqMode=sni how server names are (req_ssl_sni -m end)",
    ),
    of_destination(
        "servicePathExclude",
        COMMA,
        destination::PATH_GRAMMAR,
        "paths to leave out, compared as pathType says",
    ),
    of_destination(
        "serviceDomain",
        COMMA,
        destination::DOMAIN_GRAMMAR,
        "domains; every one unless given",
    ),
    of_destination(
        "redirectFromDomain",
        COMMA,
        destination::DOMAIN_GRAMMAR,
        "domains whose requests are redirected to the first serviceDomain",
    ),
    of_destination(
        "port",
        PORT,
        destination::PORT_GRAMMAR,
        "the port of the service",
    ),
    of_destination(
        "srcPort",
        PORT,
        destination::PORT_GRAMMAR,
        "the port that requests or connections come in on",
    ),
    of_destination(
        "httpsPort",
        PORT,
        destination::PORT_GRAMMAR,
        "the port of the service for requests that came in on srcHttpsPort",
    ),
    of_destination(
        "srcHttpsPort",
        PORT,
        destination::PORT_GRAMMAR,
        "the port that requests for httpsPort come in on; 443 unless given",
    ),
    of_destination(
        "outboundHostname",
        Text,
        destination::HOST_GRAMMAR,
        "where the service is; the service's name unless given",
    ),
    of_destination(
        "userAgent",
        COMMA,
        destination::AGENT_GRAMMAR,
        "parts of User-Agent headers, any of them, in any case",
    ),
    of_destination(
        "serviceHeader",
        COMMA,
        destination::HEADER_GRAMMAR,
        "headers that a request must have, all of them",
    ),
    of_destination(
        "allowedMethods",
        COMMA,
        options::METHOD_GRAMMAR,
        "the only methods that are taken; 403 for others",
    ),
    of_destination(
        "deniedMethods",
        COMMA,
        options::METHOD_GRAMMAR,
        "methods that are not taken: 403",
    ),
    of_destination(
        "denyHttp",
        Flag,
        BOOL_GRAMMAR,
        "403 for requests without TLS",
    ),
    of_destination(
        "httpsOnly",
        Flag,
        BOOL_GRAMMAR,
        "redirects requests without TLS to https; HTTPS_ONLY unless given",
    ),
    of_destination(
        "httpsRedirectCode",
        Choice(&["301", "302", "303", "307", "308"]),
        options::CODE_GRAMMAR,
        "the status of redirects to https; 302 unless given",
    ),
    of_destination(
        "reqPathSearchReplace",
        List(":"),
        options::REWRITE_GRAMMAR,
        "what a regular expression finds first in the path is replaced",
    ),
    of_destination(
        "ignoreAuthorization",
        Flag,
        BOOL_GRAMMAR,
        "everybody may use this destination",
    ),
    of_destination(
        "sslVerifyNone",
        Flag,
        BOOL_GRAMMAR,
        "the service is spoken to with TLS, whatever certificate it shows",
    ),
    of_destination(
        "verifyClientSsl",
        Flag,
        BOOL_GRAMMAR,
        "only clients with a certificate of an authority in CA_FILE; 403 for others",
    ),
    of_destination(
        "timeoutServer",
        SECONDS,
        options::SECONDS_GRAMMAR,
        "seconds to wait for a silent service; TIMEOUT_SERVER unless given",
    ),
    of_destination(
        "timeoutTunnel",
        SECONDS,
        options::SECONDS_GRAMMAR,
        "seconds that a silent tunnel (WebSocket) lives; TIMEOUT_TUNNEL unless given",
    ),
    of_destination(
        "reqMode",
        Choice(&["http", "tcp", "sni"]),
        connections::MODE_GRAMMAR,
        "what is routed: requests, or whole connections; DEFAULT_REQ_MODE unless given",
    ),
    of_destination(
        "serviceGroup",
        Name,
        NAME_GRAMMAR,
        "connections: services of one group share those of their srcPort",
    ),
    of_destination(
        "balanceGroup",
        Choice(&[
            "roundrobin",
            "static-rr",
            "leastconn",
            "first",
            "source",
            "random",
        ]),
        connections::BALANCE_GRAMMAR,
        "connections: how those of a group are spread",
    ),
    of_destination(
        "checkTcp",
        Flag,
        BOOL_GRAMMAR,
        "connections: HAProxy tries the server and leaves it out while it does not answer",
    ),
    of_destination(
        "clitcpka",
        Flag,
        BOOL_GRAMMAR,
        "connections: keep-alive packets to clients",
    ),
    of_destination(
        "timeoutClient",
        SECONDS,
        connections::SECONDS_GRAMMAR,
        "connections: seconds that one may be silent; TIMEOUT_TUNNEL unless given",
    ),
    of_service(
        "userDef",
        Text,
        "a text",
        "a text for templates of one's own",
    )
    .standing(ParameterStanding::NoEffect),
];
