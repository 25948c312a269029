//! Every setting there is: its name, its default and what it means.

/// One setting.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Definition {
    /// Its name in the environment. The flag is `--its-name`, the secret file `dfp_its_name`.
    pub name: &'static str,
    /// Its value where nobody says another; empty: none.
    pub default: &'static str,
    /// Whether its value may be shown.
    pub sensitivity: Sensitivity,
    /// What it means, for people.
    pub help: &'static str,
}

/// Whether a value may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sensitivity {
    /// It may.
    Plain,
    /// It must not: it is a secret.
    Secret,
}

const fn plain(name: &'static str, default: &'static str, help: &'static str) -> Definition {
    Definition {
        name,
        default,
        sensitivity: Sensitivity::Plain,
        help,
    }
}

const fn secret(name: &'static str, help: &'static str) -> Definition {
    Definition {
        name,
        default: "",
        sensitivity: Sensitivity::Secret,
        help,
    }
}

/// Every setting, in the order of the README's table.
pub const DEFINITIONS: &[Definition] = &[
    plain(
        "CONSUL_ADDRESS",
        "",
        "Consul's addresses (`host:port`, 8500 where the host stands alone, comma list, `https://` allowed), tried in this order; absent: the replicas keep the table among themselves, each in its STATE_PATH",
    ),
    secret("CONSUL_TOKEN", "Consul's ACL token"),
    plain(
        "CONSUL_DATACENTER",
        "",
        "Consul's datacenter, where it is not the agent's own",
    ),
    plain(
        "CONSUL_CA_FILE",
        "",
        "PEM file of the authority that signed Consul's certificates",
    ),
    plain(
        "CONSUL_CERT_FILE",
        "",
        "PEM file of the certificate to show to Consul; needs CONSUL_KEY_FILE",
    ),
    plain("CONSUL_KEY_FILE", "", "PEM file of that certificate's key"),
    plain(
        "ON_EMPTY_STORE",
        "refill",
        "what to do when Consul turns out empty while a table is served: `refill` it, or `hold` and write nothing",
    ),
    plain(
        "PROXY_INSTANCE_NAME",
        "docker-flow",
        "the key prefix in Consul; replicas with the same name are one proxy, and take no calls of another's",
    ),
    plain(
        "MODE",
        "default",
        "`swarm`: replicas are found by the DNS name PEERS_DNS_NAME; `default`: only by PEERS, and services without `port` in Consul's catalog",
    ),
    plain(
        "SERVICE_NAME",
        "proxy",
        "the name of the proxy's own Docker service",
    ),
    plain(
        "PEERS",
        "",
        "the replicas as a list (`host:port`, comma list) instead of DNS",
    ),
    plain(
        "PEERS_DNS_NAME",
        "",
        "the DNS name whose addresses are the replicas; default `tasks.<SERVICE_NAME>` with MODE=swarm",
    ),
    secret(
        "PEER_SECRET",
        "what calls between replicas and their answers are signed with, the same on all of them; absent: they carry API_TOKEN where that is set",
    ),
    plain(
        "WAIT_TIMEOUT",
        "10",
        "seconds that `distribute=true` waits for all replicas, and a change behind others that are refused",
    ),
    plain(
        "DRIFT_CHECK_INTERVAL",
        "60",
        "seconds between two checks that all replicas hold the same table; `0`: never",
    ),
    plain("IP", "0.0.0.0", "the address of the admin API"),
    plain(
        "PORT",
        "8080",
        "the port of the admin API, here and on every replica found by DNS",
    ),
    secret(
        "API_TOKEN",
        "the bearer token that callers of the admin API must carry; absent: the API is open",
    ),
    plain(
        "ALLOW_GET_WRITES",
        "true",
        "`false`: a GET changes nothing, and calls that change something are PUT, POST or DELETE",
    ),
    plain(
        "WRITE_RATE",
        "1000",
        "calls a second that may change something, four seconds' worth at once; `0`: any number",
    ),
    secret(
        "USERS",
        "who may use services that name no users of their own (`name:password`, comma list); absent: everybody",
    ),
    plain(
        "USERS_PASS_ENCRYPTED",
        "false",
        "`true`: the passwords of USERS are hashed, as crypt(3) has them",
    ),
    plain(
        "FILTER_PROXY_INSTANCE_NAME",
        "false",
        "`true`: a service whose `proxyInstanceName` is another than PROXY_INSTANCE_NAME is for another proxy and left alone",
    ),
    plain(
        "LISTENER_ADDRESS",
        "",
        "swarm listeners (`host`, `host:port` or a URL, comma list) that are asked for their services at the start and on `reload?fromListener=true`",
    ),
    plain(
        "REPEAT_RELOAD",
        "false",
        "`true`: the listeners are asked again every RELOAD_INTERVAL, and what vanished from their list is removed",
    ),
    plain(
        "RELOAD_INTERVAL",
        "5000",
        "milliseconds between two questions to the listeners, and between two tries",
    ),
    plain(
        "LISTEN_DOCKER",
        "false",
        "`true`: the labels `com.df.*` of Docker's services say what services there are; the engine at DOCKER_HOST must be a manager of the swarm",
    ),
    plain(
        "LISTEN_DOCKER_INTERVAL",
        "60",
        "seconds between two looks at all of Docker's services; what changes meanwhile, Docker tells",
    ),
    plain(
        "DOCKER_HOST",
        "unix:///var/run/docker.sock",
        "the Docker API, which is only read: `unix://` and a path, or `tcp://host:port`",
    ),
    plain(
        "DEFAULT_PORTS",
        "80,443:ssl",
        "the ports HAProxy binds; `:ssl` speaks TLS as soon as there is a certificate",
    ),
    plain(
        "ROUTING",
        "auto",
        "how routes are rendered: `acl`, readable, and every request walks them; `map`, the same cost with 10 services and with 10,000; `auto`: readable while that costs next to nothing",
    ),
    plain(
        "ROUTE_ORDER",
        "specific",
        "which of several matching routes takes a request: `specific`, the most specific; `acl-name`, Docker Flow Proxy's order (`/.well-known` first, `/` last, else by `aclName`), in the form `acl` only",
    ),
    plain(
        "CERTS_PATH",
        "/certs",
        "the folder of certificates: one PEM file each, with its chain and its key; so are the secrets `cert-*` and `cert_*`",
    ),
    plain(
        "CRT_LIST_PATH",
        "",
        "the file of a list of certificates in the form of HAProxy's `crt-list`, in place of what CERTS_PATH and the secrets hold; absent: all of these",
    ),
    plain(
        "PREFERRED_CERTIFICATE",
        "",
        "names of certificates (comma list, `*` and `?`) to stand first: the first of all is shown where no certificate has the name that a client asks for",
    ),
    plain(
        "CA_FILE",
        "",
        "PEM file of the authorities whose certificates clients may show (`verifyClientSsl`), looked at like `CERTS_PATH`; absent: no client is asked for one",
    ),
    plain(
        "ENABLE_H2",
        "true",
        "`true`: clients are offered HTTP/2 where TLS is spoken",
    ),
    plain(
        "SSL_BIND_OPTIONS",
        "",
        "HAProxy's `ssl-default-bind-options`, after `ssl-min-ver TLSv1.2`",
    ),
    plain(
        "SSL_BIND_CIPHERS",
        "",
        "HAProxy's `ssl-default-bind-ciphers`, for TLS 1.2; absent: OpenSSL's",
    ),
    plain(
        "BIND_PORTS",
        "",
        "ports that HAProxy binds beside DEFAULT_PORTS (comma list), for services that name one as `srcPort`",
    ),
    plain(
        "SERVICE_DOMAIN_ALGO",
        "hdr(host)",
        "how domains are compared where a service does not say `serviceDomainAlgo`",
    ),
    plain(
        "SEPARATOR",
        ",",
        "what parts the items of the lists in parameters",
    ),
    plain(
        "DEFAULT_REQ_MODE",
        "http",
        "the `reqMode` of destinations that do not say one: `http`, `tcp` or `sni`",
    ),
    plain(
        "CHECK_RESOLVERS",
        "false",
        "`true`: `checkResolvers` where a service does not say it",
    ),
    plain("BIND_ADDRESS", "*", "the address HAProxy binds"),
    plain("HAPROXY_BIN", "haproxy", "the HAProxy program"),
    plain(
        "ALLOW_RAW_CONFIG",
        "true",
        "`false`: parameters that hold raw HAProxy text (`backendExtra`, headers with `%[...]`) are refused",
    ),
    plain(
        "HTTPS_ONLY",
        "false",
        "`true`: requests without TLS are redirected to https, where a service does not say `httpsOnly=false`; taken when a service is configured",
    ),
    plain(
        "COMPRESSION_ALGO",
        "",
        "how responses are compressed (`gzip`, `deflate`, `raw-deflate`, `identity`); absent: they are not",
    ),
    plain(
        "COMPRESSION_TYPE",
        "",
        "the media types that are compressed, as `text/html,text/plain`; absent: all",
    ),
    plain(
        "CONNECTION_MODE",
        "",
        "what becomes of connections after a request (`http-keep-alive`, `http-server-close`, `httpclose`), where a service does not say `connectionMode`; absent: HAProxy keeps them",
    ),
    plain(
        "STATS_USER",
        "",
        "who may see HAProxy's own page of figures; absent: there is no such page",
    ),
    secret("STATS_PASS", "that user's password"),
    plain(
        "STATS_URI",
        "/admin?stats",
        "how requests for that page begin",
    ),
    plain(
        "STATS_PORT",
        "",
        "the port that the page has for itself; absent, or one of DEFAULT_PORTS: it is beside the services",
    ),
    plain(
        "STATS_USER_ENV",
        "STATS_USER",
        "the setting that holds that user's name",
    ),
    plain(
        "STATS_PASS_ENV",
        "STATS_PASS",
        "the setting that holds that user's password",
    ),
    plain(
        "STATS_URI_ENV",
        "STATS_URI",
        "the setting that holds how requests for the page begin",
    ),
    plain(
        "CONFIGS_PATH",
        "/cfg",
        "the folder of HAProxy's configuration",
    ),
    plain(
        "CFG_TEMPLATE_PATH",
        "",
        "a template of the whole configuration, instead of the built-in one",
    ),
    plain(
        "TEMPLATES_PATH",
        "/cfg/tmpl",
        "the folder of the templates that services name (`templateFePath`, `templateBePath`)",
    ),
    plain(
        "RUN_PATH",
        "/var/run/proxy",
        "the folder of sockets; at most 80 bytes, since socket paths are short",
    ),
    plain(
        "STATE_PATH",
        "/var/lib/proxy",
        "the folder of what outlives the process: the table where there is no Consul, the last good table, last known addresses",
    ),
    plain("SECRETS_PATH", "/run/secrets", "the folder of secret files"),
    plain(
        "DNS_SERVER",
        "",
        "the name servers of backends and replicas (`ip:port`, comma list); absent: the system's",
    ),
    plain(
        "HOSTS_FILE",
        "/etc/hosts",
        "the hosts file that names are looked up in as well",
    ),
    plain(
        "RESOLVERS",
        "",
        "the name servers as Docker Flow Proxy has them (`nameserver dns 127.0.0.11:53`, comma list); DNS_SERVER goes before",
    ),
    plain(
        "ACCESS_LOG",
        "false",
        "`true`: HAProxy writes a line per request to the standard output",
    ),
    plain("DEBUG", "false", "`true`: the same as ACCESS_LOG"),
    plain(
        "DEBUG_ERRORS_ONLY",
        "false",
        "`true`: only requests that went wrong have a line",
    ),
    plain(
        "DEBUG_HTTP_FORMAT",
        "",
        "the form of a request's line (HAProxy's `log-format`); absent: `option httplog`",
    ),
    plain(
        "DEBUG_TCP_FORMAT",
        "",
        "the form of a connection's line; absent: `option tcplog`",
    ),
    plain(
        "CAPTURE_REQUEST_HEADER",
        "",
        "headers whose beginning stands in those lines (`Name:length`, comma list)",
    ),
    plain(
        "ERROR_FILES_PATH",
        "/errorfiles",
        "the folder of the answers that HAProxy gives itself: `400.http`, `403.http`, `404.http`, `503.http` and so on, each a whole HTTP response",
    ),
    plain(
        "EXTRA_GLOBAL",
        "",
        "raw lines for the section `global` of HAProxy's configuration, parted by commas or line breaks",
    ),
    plain(
        "EXTRA_FRONTEND",
        "",
        "raw lines for the frontend that takes requests, parted by line breaks or `\\n`; the names of ACLs that begin with `agent_`, `domain_`, `excluded_`, `header_`, `port_` or `url_`, or hold `::`, are kept for services",
    ),
    plain(
        "DISPLAY_CONFIG_ON_ERROR",
        "false",
        "`true`: a configuration that HAProxy refuses is logged whole",
    ),
    plain(
        "TIMEOUT_CLIENT",
        "20",
        "seconds HAProxy waits for a silent client",
    ),
    plain(
        "TIMEOUT_CONNECT",
        "5",
        "seconds HAProxy waits for a connection to a service",
    ),
    plain(
        "TIMEOUT_QUEUE",
        "30",
        "seconds a request waits for a free connection",
    ),
    plain(
        "TIMEOUT_SERVER",
        "20",
        "seconds HAProxy waits for a silent service",
    ),
    plain(
        "TIMEOUT_TUNNEL",
        "3600",
        "seconds a silent tunnel (WebSocket) lives",
    ),
    plain(
        "TIMEOUT_HTTP_REQUEST",
        "5",
        "seconds a client has to send the head of a request",
    ),
    plain(
        "TIMEOUT_HTTP_KEEP_ALIVE",
        "15",
        "seconds a connection waits for its next request",
    ),
    plain(
        "DRAIN_DELAY",
        "2",
        "seconds between being asked to end, which `/readyz` answers with 503 at once, and taking no new connections, so that whoever sends traffic looks elsewhere first; `0`: none",
    ),
    plain(
        "SHUTDOWN_TIMEOUT",
        "8",
        "seconds from being asked to end until whatever is open is cut, DRAIN_DELAY included; less than the 10 after which Docker kills",
    ),
    plain(
        "ON_END",
        "stop",
        "what becomes of HAProxy when the server is asked to end: `stop`, it drains and ends too; `leave`, it serves on for the server that is started next, and `proxy-server --end-haproxy` ends it",
    ),
    plain(
        "LOG",
        "info",
        "which lines are logged (`error`, `warn`, `info`, `debug`, or directives per module)",
    ),
    plain(
        "LOG_FORMAT",
        "text",
        "the form of log lines: `text` or `json`",
    ),
];
