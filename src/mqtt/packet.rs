//! Packets of both versions, as functions of bytes: what of `symqtt-codec` is
//! needed here, under one face.
//!
//! [`Packet`] is what comes in, whatever the version; the functions below write
//! what goes out. MQTT 5 differs from 3.1.1 by properties and reasons.

use bytes::{Bytes, BytesMut};
use symqtt_codec::{DecodeError, EncodeError, QoS, v3, v5};

use super::{Options, Publication, Qos, Secret, Version};

/// What we take of QoS 1 before we have acknowledged it (MQTT 5 section
/// 3.1.2.11.3). Each is acknowledged at once; it bounds what is under way.
const RECEIVE_MAXIMUM: u16 = 64;

/// A packet that came in.
#[derive(Debug, PartialEq)]
pub(super) enum Packet {
    /// CONNACK.
    Welcome(Terms),
    /// CONNACK with a reason against it.
    Refused(Refusal),
    /// PUBLISH; `id` with QoS 1.
    Message { topic: String, payload: Bytes, retained: bool, id: Option<u16> },
    /// PUBACK, and why the message was not taken.
    Acknowledged { id: u16, refused: Option<String> },
    /// SUBACK, of the one filter that we ask for at a time.
    Subscribed { id: u16, refused: Option<String> },
    /// PINGRESP.
    Pong,
    /// DISCONNECT, and why.
    Farewell(String),
}

/// What a broker grants at a CONNACK (MQTT 5 section 3.2.2.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// So many QoS 1 publications before it has acknowledged one.
    pub(super) window: u16,
    /// The best QoS.
    pub(super) qos: Qos,
    /// Whether it keeps retained messages.
    pub(super) retain: bool,
    /// The longest packet, in bytes.
    pub(super) longest: usize,
    /// Another time of keep-alive, in seconds.
    pub(super) keep_alive: Option<u16>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            window: u16::MAX,
            qos: Qos::AtLeastOnce,
            retain: true,
            longest: symqtt_codec::MAX_REMAINING_LEN,
            keep_alive: None,
        }
    }
}

/// Why a broker lets nobody in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It does not speak this version.
    Version,
    /// Another reason: a sentence.
    Other(String),
}

impl From<Qos> for QoS {
    fn from(qos: Qos) -> Self {
        match qos {
            Qos::AtMostOnce => Self::AtMostOnce,
            Qos::AtLeastOnce => Self::AtLeastOnce,
        }
    }
}

/// Writes CONNECT.
pub(super) fn connect(
    out: &mut BytesMut,
    version: Version,
    options: &Options,
) -> Result<(), EncodeError> {
    let password = options.password.as_ref().or(options.broker.password());
    let password =
        password.map(|secret: &Secret| Bytes::copy_from_slice(secret.reveal().as_bytes()));
    let username = options.broker.user().map(str::to_owned);
    let client_id = options.client_id.clone();
    let keep_alive = u16::try_from(options.keep_alive.as_secs()).unwrap_or(u16::MAX);
    let will = options.will.as_ref();
    match version {
        Version::V5 => v5::Packet::Connect(v5::Connect {
            clean_start: true,
            keep_alive,
            properties: v5::ConnectProperties {
                receive_maximum: Some(RECEIVE_MAXIMUM),
                maximum_packet_size: Some(u32::try_from(options.max_message).unwrap_or(u32::MAX)),
                ..Default::default()
            },
            client_id,
            will: will.map(|will| v5::Will {
                properties: v5::WillProperties::default(),
                topic: will.topic.clone(),
                payload: Bytes::copy_from_slice(&will.payload),
                qos: will.qos.into(),
                retain: will.retain,
            }),
            username,
            password,
        })
        .encode(out),
        Version::V311 => v3::Packet::Connect(v3::Connect {
            clean_session: true,
            keep_alive,
            client_id,
            will: will.map(|will| v3::Will {
                topic: will.topic.clone(),
                message: Bytes::copy_from_slice(&will.payload),
                qos: will.qos.into(),
                retain: will.retain,
            }),
            username,
            password,
        })
        .encode(out),
    }
}

/// Writes SUBSCRIBE, for one filter.
pub(super) fn subscribe(
    out: &mut BytesMut,
    version: Version,
    pkid: u16,
    filter: &str,
    qos: Qos,
) -> Result<(), EncodeError> {
    let (topic, qos) = (filter.to_owned(), qos.into());
    match version {
        Version::V5 => v5::Packet::Subscribe(v5::Subscribe {
            pkid,
            properties: v5::SubscribeProperties::default(),
            filters: vec![v5::SubscribeFilter {
                topic,
                qos,
                no_local: false,
                retain_as_published: false,
                retain_handling: v5::RetainHandling::SendAtSubscribe,
            }],
        })
        .encode(out),
        Version::V311 => {
            let filters = vec![v3::SubscribeFilter { topic, qos }];
            v3::Packet::Subscribe(v3::Subscribe { pkid, filters }).encode(out)
        }
    }
}

/// Writes PUBLISH; with an identifier it is QoS 1.
pub(super) fn publish(
    out: &mut BytesMut,
    version: Version,
    publication: &Publication<'_>,
    pkid: Option<u16>,
) -> Result<(), EncodeError> {
    let (topic, retain) = (publication.topic.to_owned(), publication.retain);
    let qos = if pkid.is_some() { QoS::AtLeastOnce } else { QoS::AtMostOnce };
    let payload = Bytes::from(publication.payload.concat());
    match version {
        Version::V5 => {
            let properties = v5::PublishProperties::default();
            let packet = v5::Publish { dup: false, qos, retain, topic, pkid, properties, payload };
            v5::Packet::Publish(packet).encode(out)
        }
        Version::V311 => {
            let packet = v3::Publish { dup: false, qos, retain, topic, pkid, payload };
            v3::Packet::Publish(packet).encode(out)
        }
    }
}

/// Writes PUBACK, which is the same in both versions.
pub(super) fn acknowledge(out: &mut BytesMut, pkid: u16) -> Result<(), EncodeError> {
    v3::Packet::PubAck(v3::PubAck { pkid }).encode(out)
}

/// Writes PINGREQ, which is the same in both versions.
pub(super) fn ping(out: &mut BytesMut) -> Result<(), EncodeError> {
    v3::Packet::PingReq(v3::PingReq).encode(out)
}

/// Writes DISCONNECT, which is the same in both versions where it is an orderly one.
pub(super) fn disconnect(out: &mut BytesMut) -> Result<(), EncodeError> {
    v3::Packet::Disconnect(v3::Disconnect).encode(out)
}

/// Reads one packet, which the bytes hold whole. What no server sends to a
/// client, and what was not asked for (QoS 2), is an error.
pub(super) fn read(version: Version, bytes: &mut BytesMut) -> Result<Packet, String> {
    // A broker that does not know MQTT 5 answers in its own version.
    let is_old = bytes.len() == 4 && bytes.starts_with(&[0x20, 2]);
    match version {
        Version::V5 if !is_old => {
            let packet = v5::Packet::decode(bytes).map_err(|error| broken(&error))?;
            read_5(packet.ok_or("it is not whole")?)
        }
        _ => {
            let packet = v3::Packet::decode(bytes).map_err(|error| broken(&error))?;
            read_311(packet.ok_or("it is not whole")?)
        }
    }
}

fn broken(error: &DecodeError) -> String {
    error.to_string()
}

fn unexpected() -> String {
    "no broker sends such a packet to a client".into()
}

fn read_5(packet: v5::Packet) -> Result<Packet, String> {
    Ok(match packet {
        v5::Packet::ConnAck(ack) if ack.reason_code.is_success() => Packet::Welcome(terms(&ack)),
        v5::Packet::ConnAck(ack) => Packet::Refused(match ack.reason_code {
            v5::ReasonCode::UnsupportedProtocolVersion => Refusal::Version,
            code => Refusal::Other(because(code, ack.properties.reason_string.as_deref())),
        }),
        v5::Packet::Publish(publish) => {
            let v5::Publish { topic, payload, retain, pkid, qos, .. } = publish;
            message(topic, payload, retain, pkid, qos)?
        }
        v5::Packet::PubAck(ack) => Packet::Acknowledged {
            id: ack.pkid,
            refused: refused(ack.reason_code, ack.properties.reason_string.as_deref()),
        },
        v5::Packet::SubAck(ack) => Packet::Subscribed {
            id: ack.pkid,
            refused: match ack.reason_codes[..] {
                [code] => refused(code, ack.properties.reason_string.as_deref()),
                _ => return Err("a SUBACK for several filters".into()),
            },
        },
        v5::Packet::PingResp(_) => Packet::Pong,
        v5::Packet::Disconnect(end) => {
            let why = end.properties.reason_string.as_deref();
            Packet::Farewell(because(end.reason_code, why))
        }
        _ => return Err(unexpected()),
    })
}

fn read_311(packet: v3::Packet) -> Result<Packet, String> {
    use v3::{ConnectReturnCode as Code, SubscribeReturnCode};
    Ok(match packet {
        v3::Packet::ConnAck(ack) => match ack.return_code {
            Code::Accepted => Packet::Welcome(Terms::default()),
            Code::UnacceptableProtocol => Packet::Refused(Refusal::Version),
            code => Packet::Refused(Refusal::Other(
                match code {
                    Code::IdentifierRejected => CLIENT_ID,
                    Code::BadCredentials => CREDENTIALS,
                    Code::NotAuthorized => NOT_AUTHORISED,
                    _ => "it is not available now",
                }
                .into(),
            )),
        },
        v3::Packet::Publish(publish) => {
            let v3::Publish { topic, payload, retain, pkid, qos, .. } = publish;
            message(topic, payload, retain, pkid, qos)?
        }
        v3::Packet::PubAck(ack) => Packet::Acknowledged { id: ack.pkid, refused: None },
        v3::Packet::SubAck(ack) => Packet::Subscribed {
            id: ack.pkid,
            refused: match ack.return_codes[..] {
                [SubscribeReturnCode::Success(_)] => None,
                [SubscribeReturnCode::Failure] => Some("it may not be read by this user".into()),
                _ => return Err("a SUBACK for several filters".into()),
            },
        },
        v3::Packet::PingResp(_) => Packet::Pong,
        _ => return Err(unexpected()),
    })
}

fn message(
    topic: String,
    payload: Bytes,
    retained: bool,
    id: Option<u16>,
    qos: QoS,
) -> Result<Packet, String> {
    if qos == QoS::ExactlyOnce {
        return Err("a message with QoS 2, which was not asked for".into());
    }
    if !super::is_topic(&topic) {
        return Err("a message without a valid topic".into());
    }
    Ok(Packet::Message { topic, payload, retained, id })
}

fn terms(ack: &v5::ConnAck) -> Terms {
    let of = &ack.properties;
    Terms {
        window: of.receive_maximum.unwrap_or(u16::MAX).max(1),
        qos: if of.maximum_qos == Some(0) { Qos::AtMostOnce } else { Qos::AtLeastOnce },
        retain: of.retain_available != Some(0),
        longest: of.maximum_packet_size.map_or(symqtt_codec::MAX_REMAINING_LEN, |most| {
            usize::try_from(most).unwrap_or(usize::MAX)
        }),
        keep_alive: of.server_keep_alive,
    }
}

const CREDENTIALS: &str = "user or password are wrong; check them";
const NOT_AUTHORISED: &str = "not authorised; check user and password, and what the broker allows \
                              this user";
const CLIENT_ID: &str = "it does not take this client id; choose another";

fn refused(code: v5::ReasonCode, why: Option<&str>) -> Option<String> {
    code.is_error().then(|| because(code, why))
}

/// A reason as a part of a sentence; with what the broker says itself.
fn because(code: v5::ReasonCode, why: Option<&str>) -> String {
    use v5::ReasonCode as Code;
    let known = match code {
        Code::Success => "it ended the connection",
        Code::BadUserNameOrPassword => CREDENTIALS,
        Code::NotAuthorized => NOT_AUTHORISED,
        Code::ClientIdentifierNotValid => CLIENT_ID,
        Code::ServerUnavailable | Code::ServerBusy => "it is not available now",
        Code::Banned => "this client is banned",
        Code::ServerShuttingDown => "it is shutting down",
        Code::SessionTakenOver => "another client has the same client id; give each its own",
        Code::KeepAliveTimeout => "it has heard nothing for too long",
        Code::QuotaExceeded => "a quota is exceeded",
        Code::PacketTooLarge => "a packet is longer than it takes",
        Code::TopicNameInvalid => "it does not take this topic",
        Code::TopicFilterInvalid => "it does not take this filter of topics",
        Code::SharedSubscriptionsNotSupported => "it has no shared subscriptions",
        Code::WildcardSubscriptionsNotSupported => "it takes no wildcards",
        Code::UseAnotherServer | Code::ServerMoved => "it names another server; change the address",
        _ => "",
    };
    let mut text =
        if known.is_empty() { format!("reason 0x{:02x}", code as u8) } else { known.to_owned() };
    if let Some(why) = why {
        // It goes to logs and terminals.
        let why: String = why.chars().filter(|c| !c.is_control()).take(100).collect();
        text.push_str(&format!(" ({why:?})"));
    }
    text
}
