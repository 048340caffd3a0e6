//! The program's application: joins the hub, the page and the engine.
//!
//! | path | what |
//! |---|---|
//! | `/` and its files | the page |
//! | `/ws` | the stream |
//! | `/events` | the same, as server-sent events |
//! | `/api/channels`, `/api/latest` | descriptions and latest values, as JSON |
//! | `/api/devices` | the boards, where the server speaks for many |
//! | `/api/history` | what the readings were, as JSON or CSV |
//! | `/api/publish` | readings that are pushed in, as lines or JSON |
//! | `/metrics` | Prometheus |
//! | `/healthz` | whether it is well |
//!
//! Nothing above this file knows that a frame holds a reading.

mod answers;
mod history;
mod pacer;
mod publish;
mod recent;
mod selection;
mod viewer;
mod wishes;

use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

#[cfg(any(test, fuzzing))]
pub(crate) use self::viewer::fuzzing;
use self::{
    answers::Parcel,
    history::Histories,
    publish::{NOT_ALLOWED, Publishing},
    viewer::{Encoding, Telemetry},
    wishes::Wishes,
};
#[cfg(feature = "mqtt")]
pub(crate) use self::{
    selection::{Mask, Selection},
    viewer::{Piece, Place, Tap},
};
use crate::{
    error::Error,
    message::{CloseCode, Message},
    net::{
        Answer, Application, Bell, Connection, Counter, Handle, Handler, Request, Response, Stats,
        Upgrade, busy,
    },
    purse::{Plan, Purse},
    sources::{Intake, Running},
    telemetry::{DeviceStatus, Devices, Hub, Status},
    web,
    wire::{
        fleet,
        json::{self, Ask},
        prometheus,
        subscribe::{self, Subscription},
    },
};
#[cfg(feature = "mqtt")]
use crate::{telemetry::Filters, wire::subscribe::Pace};

/// The subprotocols, and how data arrives with each.
const PROTOCOLS: [(&str, Encoding); 2] =
    [("boardcast.v1.json", Encoding::Json), ("boardcast.v1.bin", Encoding::Binary)];
const JSON: &str = "application/json";

/// The telemetry application.
pub struct App {
    hub: Hub,
    /// The hub is that of many boards, whose readings come from them alone.
    is_fleet: bool,
    telemetry: Telemetry,
    histories: Histories,
    /// For answers, until the engine's own is known.
    purse: Purse,
    publishing: Publishing,
    /// The engine's counters and occupancy, once it runs.
    engine: OnceLock<EngineView>,
    /// How the memory was shared out, where it was.
    plan: OnceLock<Plan>,
    /// Called, one after the other, when the server stops; `None`: it does.
    at_stop: Mutex<Option<Vec<Call>>>,
    /// Whose pages may show ours in a frame: `frame-ancestors`.
    frames: RwLock<String>,
    /// Called on SIGHUP.
    at_hang_up: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// What the way out, or a fleet, counts, for `/metrics`.
    measure: OnceLock<Measure>,
}

type Measure = Box<dyn Fn(&mut prometheus::Page) + Send + Sync>;
type Call = Box<dyn FnOnce() + Send>;

struct EngineView {
    stats: Arc<Stats>,
    occupancy: Box<dyn Fn() -> (usize, usize) + Send + Sync>,
    purse: Purse,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("hub", &self.hub).finish_non_exhaustive()
    }
}

impl App {
    /// Serves a hub.
    pub fn new(hub: Hub) -> Arc<Self> {
        let telemetry = Telemetry::new(hub.clone());
        let histories = Histories::default();
        let publishing = Publishing::new(&hub);
        let at_stop = Mutex::new(Some(Vec::new()));
        let (engine, at_hang_up) = (OnceLock::new(), OnceLock::new());
        Arc::new(Self {
            is_fleet: hub.is_fleet(),
            hub,
            telemetry,
            histories,
            purse: Purse::new(1 << 20),
            publishing,
            engine,
            plan: OnceLock::new(),
            at_stop,
            frames: RwLock::new("'self'".into()),
            at_hang_up,
            measure: OnceLock::new(),
        })
    }

    /// Shows the engine's counters in `/metrics`.
    pub fn watch(&self, engine: &Handle) {
        let view = EngineView {
            stats: engine.stats().clone(),
            occupancy: Box::new(engine.occupancy()),
            purse: engine.purse().clone(),
        };
        // An application runs in one engine; a second one is not shown.
        let _ = self.engine.set(view);
    }

    /// Shows how the memory was shared out in `/metrics`.
    pub fn plan(&self, plan: Plan) {
        // Memory is shared out once.
        let _ = self.plan.set(plan);
    }

    /// Shows what an input of pushed readings counts in `/metrics`.
    pub fn count(&self, intake: &Intake) {
        self.publishing.count(intake);
    }

    /// Shows no more what the input of this name counts.
    pub fn forget(&self, name: &str) {
        self.publishing.forget(name);
    }

    /// Stops this source when the server stops.
    pub fn keep(&self, source: Running) {
        self.at_stop(move || drop(source));
    }

    /// Calls this when the server stops, behind what was asked for earlier; at
    /// once when it does so already: a signal may come while all is started.
    pub fn at_stop(&self, call: impl FnOnce() + Send + 'static) {
        let mut calls = self.at_stop.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(calls) = &mut *calls {
            return calls.push(Box::new(call));
        }
        drop(calls);
        call();
    }

    /// Lets pages of these origins show ours in a frame, beside its own; `*`:
    /// every one.
    pub fn allow_frames(&self, origins: &[String]) {
        let frames: Vec<_> =
            ["'self'"].into_iter().chain(origins.iter().map(String::as_str)).collect();
        *self.frames.write().unwrap_or_else(PoisonError::into_inner) = frames.join(" ");
    }

    /// Calls this on SIGHUP, on the accept loop's thread; the first call counts.
    pub fn at_hang_up(&self, call: impl Fn() + Send + Sync + 'static) {
        // There is one thing to do then, and one who knows it.
        let _ = self.at_hang_up.set(Box::new(call));
    }

    /// A place in the stream for what is no client; see [`Tap`].
    #[cfg(feature = "mqtt")]
    pub(crate) fn tap(&self, filters: Filters, pace: Option<Pace>) -> Tap {
        self.telemetry.tap(filters, pace)
    }

    /// The channels that these filters select, as they come and go.
    #[cfg(feature = "mqtt")]
    pub(crate) fn selection(&self, filters: Filters) -> Arc<Selection> {
        self.telemetry.selection(filters)
    }

    /// Calls this whenever something is new, once the engine runs, in place of
    /// what was to be called before. It must not block.
    #[cfg(feature = "mqtt")]
    pub(crate) fn at_change(&self, call: impl Fn() + Send + Sync + 'static) {
        self.telemetry.at_change(Bell::new(call));
    }

    /// Shows more in `/metrics`; the first call counts.
    pub(crate) fn measure(&self, call: impl Fn(&mut prometheus::Page) + Send + Sync + 'static) {
        // There is one way out, which counts over all of its connections; or one
        // fleet, which has none.
        let _ = self.measure.set(Box::new(call));
    }

    fn stream(&self, request: &Request) -> Answer {
        if !request.wants_websocket() {
            let sentence = "this is the stream: connect to it with a WebSocket (ws://…/ws)";
            return Answer::Response(Response::upgrade_required(sentence));
        }
        let first = match subscribe::from_query(request.query().unwrap_or_default()) {
            Ok(first) => first,
            Err(why) => return Answer::Response(Response::text(400, why.to_string())),
        };
        let mut offered = request.subprotocols().peekable();
        let any = offered.peek().is_none();
        let known = |name: &str| PROTOCOLS.iter().find(|(known, _)| *known == name);
        let chosen = offered.find_map(known);
        let Some((name, encoding)) = chosen.or(any.then_some(&PROTOCOLS[0])) else {
            let sentence = "none of these subprotocols is spoken here; offer boardcast.v1.json, \
                            boardcast.v1.bin or none";
            return Answer::Response(Response::text(400, sentence));
        };
        let may_resume = first.as_ref().is_some_and(|asked| asked.filters.is_empty());
        let wishes = Arc::<Wishes>::default();
        if let Some(asked) = first {
            wishes.leave(self.telemetry.first_wish(asked));
        }
        let may_publish = request.may_publish() && !self.is_fleet;
        let publisher = may_publish.then(|| self.publishing.websocket());
        let viewer = self.telemetry.viewer(*encoding, wishes.clone());
        let viewer = viewer.may_publish(publisher.is_some());
        let (hub, telemetry) = (self.hub.clone(), self.telemetry.clone());
        let is_fleet = self.is_fleet;
        let session = Session { hub, telemetry, wishes, may_resume, is_fleet, publisher };
        let mut upgrade = Upgrade::new(|_, _| session).cursor(Box::new(viewer));
        if may_publish {
            upgrade = upgrade.publisher();
        }
        Answer::Upgrade(if any { upgrade } else { upgrade.protocol(*name) })
    }

    /// The stream for whom WebSockets do not reach. A browser that connects
    /// anew has the same query and says where it was: that counts.
    fn events(&self, request: &Request) -> Answer {
        let first = match subscribe::from_query(request.query().unwrap_or_default()) {
            Ok(first) => first,
            Err(why) => return Answer::Response(Response::text(400, why.to_string())),
        };
        if first.as_ref().is_some_and(|asked| asked.filters.is_empty()) {
            let sentence = "channels names none: leave it out for all, or write it as in \
                            /events?channels=cpu/%23";
            return Answer::Response(Response::text(400, sentence));
        }
        if request.method() == "HEAD" {
            return Answer::Response(no_store(Response::new(200, "text/event-stream", "")));
        }
        // What is no place of ours is another server's: it starts from scratch.
        let last = request.header("last-event-id").and_then(|id| subscribe::since(id).ok());
        let first = match (first, last) {
            (Some(asked), last) => Some(Subscription { since: last.or(asked.since), ..asked }),
            (None, Some(last)) => Some(Subscription::all_since(last)),
            (None, None) => None,
        };
        let wishes = Arc::<Wishes>::default();
        if let Some(asked) = first {
            wishes.leave(self.telemetry.first_wish(asked));
        }
        let viewer = self.telemetry.viewer(Encoding::Events, wishes);
        Answer::Upgrade(Upgrade::events(Box::new(viewer)))
    }

    fn latest(&self) -> Response {
        let view = self.hub.view();
        let wall_of = |at| view.wall_of(at);
        let all: Vec<_> = view.channels().iter().collect();
        let body = json::latest(view.seq(), &all, wall_of);
        drop(view);
        self.large(JSON, body)
    }

    /// An answer that may be large, with 200; 503 when too many are on their way.
    fn large(&self, media_type: &'static str, body: String) -> Response {
        match Parcel::of(self.purse(), body) {
            Some(body) => no_store(Response::new(200, media_type, body)),
            None => self.busy(),
        }
    }

    fn purse(&self) -> &Purse {
        self.engine.get().map_or(&self.purse, |engine| &engine.purse)
    }

    fn busy(&self) -> Response {
        if let Some(engine) = self.engine.get() {
            engine.stats.refused_memory.increment();
        }
        busy()
    }

    fn channels(&self) -> Response {
        let view = self.hub.view();
        let (device, epoch) = (self.hub.device(), self.hub.epoch());
        let body = json::channel_list(device, epoch, view.channels());
        drop(view);
        self.large(JSON, body)
    }

    fn devices(&self) -> Response {
        let view = self.hub.view();
        let list = view.devices().map_or(&[][..], Devices::list);
        let body = fleet::device_list(self.hub.device(), self.hub.epoch(), list);
        drop(view);
        self.large(JSON, body)
    }

    fn health(&self) -> Response {
        let view = self.hub.view();
        let newest = view.channels().iter().map(|state| state.at).max().unwrap_or_default();
        let age = self.hub.clock().boot().since(newest);
        // Each channel knows after how long it is stale.
        let ok = || view.channels().iter().any(|s| s.status == Status::Ok);
        let online = |devices: Devices<'_>| {
            devices.list().iter().any(|device| device.status == DeviceStatus::Online)
        };
        // A fleet server may wait for its boards; a channel says nothing of its board.
        let well = view.seq() > 0 && view.devices().map_or_else(ok, online);
        let status = if well { "ok" } else { "no readings" };
        let body = serde_json::json!({
            "status": status,
            "device": self.hub.device(),
            "seq": view.seq(),
            "channels": view.channels().len(),
            "age": (age.as_secs_f64() * 1000.0).round() / 1000.0,
        });
        no_store(json_response(if well { 200 } else { 503 }, body.to_string() + "\n"))
    }

    fn metrics(&self, format: prometheus::Format) -> Response {
        let mut page = prometheus::Page::new(format, self.is_fleet);
        page.build(env!("CARGO_PKG_VERSION"));
        if let Some(engine) = self.engine.get() {
            engine.describe(&mut page);
        }
        // Before the hub is locked, which it may want itself.
        if let Some(measure) = self.measure.get() {
            measure(&mut page);
        }
        let view = self.hub.view();
        let ring = view.ring_use();
        let (bytes, batches) = ring;
        let mut gauge = |name, help, value| page.single(name, "gauge", help, value);
        gauge("boardcast_channels", "Channels known.", view.channels().len() as u64);
        gauge("boardcast_ring_bytes", "Bytes of batches kept for catching up.", bytes as u64);
        gauge("boardcast_ring_batches", "Batches kept for catching up.", batches as u64);
        let selections = self.telemetry.selections() as u64;
        gauge("boardcast_selections", "Different selections that clients have.", selections);
        let (bytes, channels) = self.hub.history().size();
        gauge("boardcast_history_bytes", "Bytes of history.", bytes as u64);
        gauge("boardcast_history_channels", "Channels with a history.", channels as u64);
        if let (Some(plan), Some(engine)) = (self.plan.get(), self.engine.get()) {
            let connections = (engine.occupancy)().0 as u64 * plan.connection;
            let tables = ring.0 + self.hub.history().size().0 + engine.purse.in_use();
            let sum = plan.own + tables as u64 + connections;
            gauge("boardcast_memory_bytes", "Memory in use, as it is planned.", sum);
            gauge("boardcast_memory_connections_bytes", "Of that, the connections.", connections);
            if let Some(limit) = plan.limit {
                gauge("boardcast_memory_limit_bytes", "The most that there may be.", limit);
            }
        }
        let mut counter = |name, help, value| page.single(name, "counter", help, value);
        counter("boardcast_batches_total", "Batches published.", view.seq());
        let gaps = self.telemetry.gaps();
        counter("boardcast_gaps_total", "Clients that were overtaken by the ring.", gaps);
        let crowded = self.telemetry.crowded().get();
        let help = "Clients ended with 1008: too many answers waited for them.";
        counter("boardcast_ended_control_total", help, crowded);
        self.publishing.describe(&mut page);
        page.readings(view.channels());
        drop(view);
        self.large(format.media_type(), page.finish()).header("Vary", "Accept")
    }
}

impl EngineView {
    fn describe(&self, page: &mut prometheus::Page) {
        let (connections, streams) = (self.occupancy)();
        page.single("boardcast_connections", "gauge", "Open connections.", connections as u64);
        page.single(
            "boardcast_clients",
            "gauge",
            "Open streams: WebSockets and event streams.",
            streams as u64,
        );
        let stats = &self.stats;
        let (taken, most) = (self.purse.in_use() as u64, self.purse.most() as u64);
        page.single(
            "boardcast_transit_bytes",
            "gauge",
            "Bytes taken for what is under way.",
            taken,
        );
        page.single("boardcast_transit_limit_bytes", "gauge", "The most that may be.", most);
        let counters: [(&str, &str, &Counter); 29] = [
            ("accepted", "Connections accepted.", &stats.accepted),
            ("accept_errors", "Accepts that failed for want of room.", &stats.accept_errors),
            ("refused_full", "Refused: all connections taken.", &stats.refused_full),
            ("refused_tls", "Refused: no TLS came about.", &stats.refused_tls),
            ("refused_address", "Refused: too many of one address.", &stats.refused_address),
            ("refused_forbidden", "Refused: network, name or origin.", &stats.refused_forbidden),
            (
                "refused_unauthorized",
                "Refused: no token, or none known.",
                &stats.refused_unauthorized,
            ),
            ("refused_tries", "Refused: too many wrong tokens.", &stats.refused_tries),
            ("refused_head", "Refused: head too slow, too long, bad.", &stats.refused_head),
            ("refused_body", "Refused: body too long, too slow, bad.", &stats.refused_body),
            ("refused_memory", "Refused: too much under way.", &stats.refused_memory),
            ("refused_early", "Refused peers closed before they read why.", &stats.refused_early),
            ("gave_way", "Idle connections that made room.", &stats.gave_way),
            ("waited_heads", "Times that newcomers waited for heads.", &stats.waited_heads),
            ("late_answers", "Answers not taken in time.", &stats.late_answers),
            ("late_ends", "Ends that took too long.", &stats.late_ends),
            ("requests", "HTTP requests, upgrades included.", &stats.requests),
            ("streams", "Streams opened.", &stats.streams),
            ("frames_sent", "Frames sent by the push workers.", &stats.frames_sent),
            ("bytes_sent", "Their bytes.", &stats.bytes_sent),
            ("sends", "System calls for them.", &stats.sends),
            ("blocked_sends", "Sends that were not taken whole.", &stats.blocked_sends),
            ("messages_received", "Messages from clients.", &stats.messages_received),
            ("ended_slow", "Clients ended for reason 1013.", &stats.ended_slow),
            ("ended_silent", "Clients ended for their silence.", &stats.ended_silent),
            ("ended_policy", "Clients ended with 1008.", &stats.ended_policy),
            ("ended_protocol", "Clients ended with 1002, 1007, 1009.", &stats.ended_protocol),
            ("ended_memory", "Clients ended with 1013: too much under way.", &stats.ended_memory),
            ("panics", "Connections that panicked.", &stats.panics),
        ];
        for (name, help, counter) in counters {
            page.single(&format!("boardcast_{name}_total"), "counter", help, counter.get());
        }
    }
}

impl Application for App {
    /// What the page is made of: a page that was opened with `?token=`, or
    /// another site's, has no cookie to show when it asks for that.
    fn is_open(&self, request: &Request) -> bool {
        web::is_part(request.path())
    }

    fn respond(&self, request: &Request) -> Answer {
        let known = match request.path() {
            "/ws" => return self.guard(request, || self.stream(request)),
            "/events" => return self.guard(request, || self.events(request)),
            "/api/publish" if self.is_fleet => {
                let sentence = "a fleet server takes no readings: push them to the board";
                return Answer::Response(Response::text(403, sentence));
            }
            "/api/devices" if self.is_fleet => Some(Self::devices as fn(&Self) -> Response),
            "/api/publish" => return self.publishing.respond(request),
            "/api/channels" => Some(Self::channels as _),
            "/api/latest" => Some(Self::latest as _),
            "/metrics" => {
                let format = prometheus::Format::from_accept(request.header_list("accept"));
                return self.guard(request, || Answer::Response(self.metrics(format)));
            }
            "/healthz" => Some(Self::health as _),
            "/api/history" => {
                let answer = || self.histories.respond(&self.hub, request, self.purse());
                let answer = || answer().unwrap_or_else(|| self.busy());
                return self.guard(request, || Answer::Response(answer()));
            }
            _ => None,
        };
        if let Some(make) = known {
            return self.guard(request, || Answer::Response(make(self)));
        }
        let frames = self.frames.read().unwrap_or_else(PoisonError::into_inner).clone();
        match web::respond(request, &frames) {
            Some(response) => self.guard(request, || Answer::Response(response)),
            None => {
                let sentence = "there is nothing here; the page is at /, the stream at /ws, \
                                readings at /api/latest, /api/history and /api/channels";
                Answer::Response(Response::text(404, sentence))
            }
        }
    }

    fn started(&self, bell: Bell) {
        self.telemetry.started(bell);
    }

    fn stopping(&self) {
        let calls = self.at_stop.lock().unwrap_or_else(PoisonError::into_inner).take();
        calls.into_iter().flatten().for_each(|call| call());
    }

    fn hung_up(&self) {
        if let Some(call) = self.at_hang_up.get() {
            call();
        }
    }
}

impl App {
    /// What is here is read, not changed.
    fn guard(&self, request: &Request, answer: impl FnOnce() -> Answer) -> Answer {
        if matches!(request.method(), "GET" | "HEAD") {
            return answer();
        }
        let sentence = format!("{} is for reading: use GET or HEAD", request.path());
        Answer::Response(Response::text(405, sentence).header("Allow", "GET, HEAD"))
    }
}

fn json_response(status: u16, body: String) -> Response {
    Response::new(status, JSON, body)
}

fn no_store(response: Response) -> Response {
    response.header("Cache-Control", "no-store")
}

/// What a client says to us.
struct Session {
    hub: Hub,
    telemetry: Telemetry,
    wishes: Arc<Wishes>,
    /// The next `subscribe` may say where to go on.
    may_resume: bool,
    /// The server speaks for many boards.
    is_fleet: bool,
    /// Where its readings go, if it may publish.
    publisher: Option<Intake>,
}

impl Session {
    /// Leaves the wish for the worker; what to answer at once, if anything.
    fn subscribe(
        &mut self,
        connection: &Connection,
        asked: Subscription,
        id: Option<serde_json::Value>,
    ) -> Option<String> {
        if asked.since.is_some() && !self.may_resume {
            let sentence = "since counts in the query of /ws, or in the first subscribe after \
                            /ws?channels=";
            return Some(json::error("bad_since", sentence, id.as_ref()));
        }
        if asked.places.is_some() && !self.is_fleet {
            let sentence = r#"this is one board: since is {"epoch":"…","seq":1}"#;
            return Some(json::error("bad_since", sentence, id.as_ref()));
        }
        self.may_resume = false;
        let replaced = self.wishes.leave(self.telemetry.wish(asked, id));
        connection.refresh();
        let id = replaced?.id?;
        Some(json::error("replaced", "a newer subscribe came before it", Some(&id)))
    }
}

impl Handler for Session {
    fn on_message(&mut self, connection: &Connection, message: Message) {
        let answer = match message.as_text().map(json::ask) {
            None => {
                let _ = connection.fail(CloseCode::UNSUPPORTED, "send JSON as text");
                return;
            }
            Some(Ask::Ping { id }) => Some(json::pong(id.as_ref(), self.hub.clock().wall())),
            Some(Ask::Subscribe { subscription, id }) => {
                self.subscribe(connection, subscription, id)
            }
            Some(Ask::Publish { id }) => Some(match &self.publisher {
                Some(intake) => {
                    publish::message(intake, message.as_text().unwrap_or_default(), id.as_ref())
                }
                None => json::error("not_allowed", NOT_ALLOWED, id.as_ref()),
            }),
            Some(Ask::Unknown(answer)) => Some(answer),
        };
        // A client that has gone needs no answer; one that takes none is ended.
        if let Some(Err(Error::Busy)) = answer.map(|answer| connection.try_send(answer)) {
            self.telemetry.crowded().increment();
            let _ = connection.fail(CloseCode::POLICY, "too many answers wait; read them");
        }
    }
}
