// A Fast DDS participant that speaks ROS 2's joint states: the second vendor in the tests.
//
// Usage: peer DOMAIN reliable|best_effort [announce]
// It listens to rt/joint_commands and writes to rt/joint_states, both with the reliability given. With `announce` it sends
// type information, which ROS on Fast DDS does not. Standard input: one message a line, "name=position name=position
// ..." or "name=position:velocity ..."; standard output: "command name=position ...", "readers N", "writers N", "incompatible POLICY".

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>

#include <fastdds/dds/domain/DomainParticipant.hpp>
#include <fastdds/dds/domain/DomainParticipantFactory.hpp>
#include <fastdds/dds/publisher/DataWriter.hpp>
#include <fastdds/dds/publisher/DataWriterListener.hpp>
#include <fastdds/dds/publisher/Publisher.hpp>
#include <fastdds/dds/subscriber/DataReader.hpp>
#include <fastdds/dds/subscriber/DataReaderListener.hpp>
#include <fastdds/dds/subscriber/SampleInfo.hpp>
#include <fastdds/dds/subscriber/Subscriber.hpp>
#include <fastdds/dds/topic/Topic.hpp>
#include <fastdds/dds/topic/TypeSupport.hpp>
#include <fastdds/rtps/transport/UDPv4TransportDescriptor.h>
#include <fastrtps/utils/IPLocator.h>

#include "JointStatePubSubTypes.h"
#include "JointStateTypeObject.h"

using namespace eprosima::fastdds::dds;
using eprosima::fastdds::rtps::UDPv4TransportDescriptor;
using JointState = sensor_msgs::msg::dds_::JointState_;
using JointStateType = sensor_msgs::msg::dds_::JointState_PubSubType;

namespace {

std::mutex output;

void say(const std::string& line) {
    std::lock_guard<std::mutex> lock(output);
    std::cout << line << std::endl;
}

class Ears : public DataReaderListener {
    void on_data_available(DataReader* reader) override {
        JointState message;
        SampleInfo info;
        while (reader->take_next_sample(&message, &info) == ReturnCode_t::RETCODE_OK) {
            if (!info.valid_data) {
                continue;
            }
            std::string line = "command";
            for (std::size_t i = 0; i < message.name().size() && i < message.position().size(); ++i) {
                char number[40];
                std::snprintf(number, sizeof number, "=%.17g", message.position()[i]);
                line += " " + message.name()[i] + number;
            }
            say(line);
        }
    }

    void on_subscription_matched(DataReader*, const SubscriptionMatchedStatus& status) override {
        say("writers " + std::to_string(status.current_count));
    }

    void on_requested_incompatible_qos(DataReader*, const RequestedIncompatibleQosStatus& status) override {
        say("incompatible " + std::to_string(status.last_policy_id));
    }
};

class Mouth : public DataWriterListener {
    void on_publication_matched(DataWriter*, const PublicationMatchedStatus& status) override {
        say("readers " + std::to_string(status.current_count));
    }

    void on_offered_incompatible_qos(DataWriter*, const OfferedIncompatibleQosStatus& status) override {
        say("incompatible " + std::to_string(status.last_policy_id));
    }
};

DomainParticipantQos on_the_loopback() {
    DomainParticipantQos qos = PARTICIPANT_QOS_DEFAULT;
    auto udp = std::make_shared<UDPv4TransportDescriptor>();
    udp->interfaceWhiteList.push_back("127.0.0.1");
    udp->maxInitialPeersRange = 32;
    qos.transport().use_builtin_transports = false;
    qos.transport().user_transports.push_back(udp);
    auto& discovery = qos.wire_protocol().builtin;
    discovery.metatrafficMulticastLocatorList.clear();
    // One unicast locator, even an empty one, keeps Fast DDS from adding its multicast default.
    discovery.metatrafficUnicastLocatorList.push_back(eprosima::fastrtps::rtps::Locator_t());
    eprosima::fastrtps::rtps::Locator_t peer;
    peer.kind = LOCATOR_KIND_UDPv4;
    eprosima::fastrtps::rtps::IPLocator::setIPv4(peer, 127, 0, 0, 1);
    discovery.initialPeersList.push_back(peer);
    return qos;
}

JointState parsed(const std::string& line) {
    JointState message;
    message.header().frame_id("fastdds");
    std::istringstream words(line);
    std::string word;
    while (words >> word) {
        const std::size_t equals = word.rfind('=');
        message.name().push_back(word.substr(0, equals));
        char* rest = nullptr;
        message.position().push_back(std::strtod(word.c_str() + equals + 1, &rest));
        if (*rest == ':') {
            message.velocity().push_back(std::strtod(rest + 1, nullptr));
        }
    }
    return message;
}

}  // namespace

int main(int count, char** arguments) {
    const auto domain = static_cast<std::uint32_t>(std::atoi(arguments[1]));
    const auto reliability = std::string(arguments[2]) == "reliable" ? RELIABLE_RELIABILITY_QOS : BEST_EFFORT_RELIABILITY_QOS;
    DomainParticipant* participant =
        DomainParticipantFactory::get_instance()->create_participant(domain, on_the_loopback());
    if (participant == nullptr) {
        std::cerr << "no participant" << std::endl;
        return 1;
    }
    TypeSupport type(new JointStateType());
    const bool announce = count > 3 && std::string(arguments[3]) == "announce";
    if (announce) {
        registerJointStateTypes();
    }
    type->auto_fill_type_object(announce);
    type->auto_fill_type_information(announce);
    type.register_type(participant);
    Topic* commands = participant->create_topic("rt/joint_commands", type.get_type_name(), TOPIC_QOS_DEFAULT);
    Topic* states = participant->create_topic("rt/joint_states", type.get_type_name(), TOPIC_QOS_DEFAULT);

    Ears ears;
    Mouth mouth;
    DataReaderQos asked = DATAREADER_QOS_DEFAULT;
    asked.reliability().kind = reliability;
    asked.data_sharing().off();
    asked.endpoint().history_memory_policy = eprosima::fastrtps::rtps::PREALLOCATED_WITH_REALLOC_MEMORY_MODE;
    DataWriterQos offered = DATAWRITER_QOS_DEFAULT;
    offered.reliability().kind = reliability;
    offered.data_sharing().off();
    offered.endpoint().history_memory_policy = eprosima::fastrtps::rtps::PREALLOCATED_WITH_REALLOC_MEMORY_MODE;
    participant->create_subscriber(SUBSCRIBER_QOS_DEFAULT)->create_datareader(commands, asked, &ears);
    DataWriter* writer = participant->create_publisher(PUBLISHER_QOS_DEFAULT)->create_datawriter(states, offered, &mouth);
    say("type " + type.get_type_name());

    std::string line;
    while (std::getline(std::cin, line)) {
        JointState message = parsed(line);
        writer->write(&message);
    }
    participant->delete_contained_entities();
    DomainParticipantFactory::get_instance()->delete_participant(participant);
    return 0;
}
