//! The rights that Inlet needs on a broker with ACLs, and how to grant them. Errors and `inlet
//! check` take their text from here.

use std::fmt;

use inlet_service::error::Hint;
use rdkafka::error::RDKafkaErrorCode as Code;

const ADD: &str = "kafka-acls.sh --add";

/// A right that one object needs; its text is the command that grants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right<'a> {
    /// To publish into a topic and to read it.
    UseTopic(&'a str),
    /// To create a topic.
    CreateTopic(&'a str),
    /// To read the settings of a topic.
    DescribeTopicSettings(&'a str),
    /// To see the members of a group.
    DescribeGroup(&'a str),
    /// To publish in transactions whose id starts with this.
    UseTransactionalIds(&'a str),
}

impl fmt::Display for Right<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (operations, object, name): (&[&str], _, _) = match self {
            Self::UseTopic(name) => (&["Describe", "Read", "Write"], "topic", name),
            Self::CreateTopic(name) => (&["Create"], "topic", name),
            Self::DescribeTopicSettings(name) => (&["DescribeConfigs"], "topic", name),
            Self::DescribeGroup(name) => (&["Describe"], "group", name),
            Self::UseTransactionalIds(name) => (&["Describe", "Write"], "transactional-id", name),
        };
        f.write_str(ADD)?;
        for operation in operations {
            write!(f, " --operation {operation}")?;
        }
        write!(f, " --{object} {name}")?;
        if let Self::UseTransactionalIds(_) = self {
            // The check uses an id of its own that begins with the same prefix.
            f.write_str(" --resource-pattern-type prefixed")?;
        }
        Ok(())
    }
}

impl Right<'_> {
    /// The command that grants it, for these brokers and this user.
    pub fn command(&self, brokers: &str, user: &str) -> String {
        let command = self.to_string();
        let rest = command.strip_prefix(ADD).expect("it starts like this");
        format!("{ADD} --bootstrap-server {brokers} --allow-principal User:{user}{rest}")
    }
}

/// The right that is missing when a broker answers with this code.
pub(crate) fn missing(code: Code) -> Option<Hint> {
    let text = match code {
        Code::TopicAuthorizationFailed => {
            "the producer needs DESCRIBE, READ and WRITE on the topics and on the control topic, \
             and CREATE where they do not exist yet; the consumer needs DESCRIBE and READ"
        }
        Code::GroupAuthorizationFailed => "the consumer needs READ on its group (`kafka.group`)",
        Code::ClusterAuthorizationFailed => {
            "the producer needs CREATE on the topics that do not exist yet, and IDEMPOTENT_WRITE \
             on a cluster before Kafka 2.8"
        }
        Code::TransactionalIdAuthorizationFailed => {
            "the producer needs DESCRIBE and WRITE on the transactional id `inlet-<pipeline>`"
        }
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::SSL => {
            "see `security.protocol`, `sasl.*` and `ssl.*` under the key `kafka.properties` of the \
             configuration"
        }
        _ => return None,
    };
    Some(Hint::text(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_is_the_command_that_grants_it() {
        assert_eq!(
            Right::UseTransactionalIds("inlet-shop").to_string(),
            "kafka-acls.sh --add --operation Describe --operation Write --transactional-id \
             inlet-shop --resource-pattern-type prefixed"
        );
        assert_eq!(
            Right::CreateTopic("shop").command("host:9092", "ANONYMOUS"),
            "kafka-acls.sh --add --bootstrap-server host:9092 --allow-principal User:ANONYMOUS \
             --operation Create --topic shop"
        );
        assert_eq!(
            Right::CreateTopic("shop").to_string(),
            "kafka-acls.sh --add --operation Create --topic shop"
        );
    }
}
