//! The protocols that are spoken in Rust: the settings that each needs, and the addresses that it takes.

use serde::Deserialize;

/// A protocol other than HTTP; each has a file in `destinations`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// AMQP 0-9-1, RabbitMQ's.
    Amqp,
    /// Kafka's.
    Kafka,
    /// MQTT 5.
    Mqtt,
    /// MySQL's and MariaDB's.
    Mysql,
    /// NATS with JetStream.
    Nats,
    /// Redis Streams.
    Redis,
}

/// The schemes of a protocol's addresses and the ports where none is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schemes {
    /// Without TLS, which is for the operator's own networks.
    pub plain: (&'static str, u16),
    /// With TLS.
    pub tls: (&'static str, u16),
}

impl Protocol {
    /// The settings that its manifests have, beside `address`.
    #[must_use]
    pub fn needs(self) -> &'static [&'static str] {
        match self {
            Self::Amqp => &["vhost", "exchange", "user", "password"],
            Self::Kafka => &["topic", "mechanism", "user", "password", "compression"],
            Self::Mqtt => &["user", "password"],
            Self::Mysql => &["database", "table", "user", "password"],
            Self::Nats => &["user", "password", "credentials"],
            Self::Redis => &["user", "password", "database", "keep", "repeats"],
        }
    }

    /// The schemes of its addresses.
    #[must_use]
    pub fn schemes(self) -> Schemes {
        match self {
            Self::Amqp => Schemes { plain: ("amqp", 5672), tls: ("amqps", 5671) },
            Self::Kafka => Schemes { plain: ("kafka", 9092), tls: ("kafkas", 9093) },
            Self::Mqtt => Schemes { plain: ("mqtt", 1883), tls: ("mqtts", 8883) },
            Self::Mysql => Schemes { plain: ("mysql", 3306), tls: ("mysqls", 3306) },
            Self::Nats => Schemes { plain: ("nats", 4222), tls: ("tls", 4222) },
            Self::Redis => Schemes { plain: ("redis", 6379), tls: ("rediss", 6379) },
        }
    }

    /// Whether it takes back what was sent of a person.
    #[must_use]
    pub fn erases(self) -> bool {
        self == Self::Mysql
    }

    /// Whether records of a key are to wait for each other: what is on its way together may be refused one by one, so that a later one
    /// would be there before an earlier one that is sent again. Kafka keeps a partition's order itself, MySQL takes all or nothing.
    #[must_use]
    pub fn takes_one_by_one(self) -> bool {
        matches!(self, Self::Amqp | Self::Mqtt | Self::Nats | Self::Redis)
    }
}
