//! The contract only grows: what a client was once compiled against keeps its number, its type and its place.

use std::collections::BTreeSet;

use prost::Message;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet, ServiceDescriptorProto};

/// One line for each field, enum value and method of the package; every line stays true for ever.
const RECORDED: &str = include_str!("../fixtures/contract/v1.txt");

fn contract() -> FileDescriptorSet {
    FileDescriptorSet::decode(api::FILE_DESCRIPTOR_SET).unwrap()
}

/// What the contract promises, a line a promise, in order.
fn promises(contract: &FileDescriptorSet) -> BTreeSet<String> {
    let mut promises = BTreeSet::new();
    for file in contract.file.iter().filter(|file| file.package() == "headwater.v1") {
        for message in &file.message_type {
            of_message("headwater.v1", message, &mut promises);
        }
        for of in &file.enum_type {
            of_enum("headwater.v1", of, &mut promises);
        }
        for service in &file.service {
            of_service(service, &mut promises);
        }
    }
    promises
}

fn of_message(scope: &str, message: &DescriptorProto, promises: &mut BTreeSet<String>) {
    let scope = format!("{scope}.{}", message.name());
    for field in &message.field {
        let presence = if field.proto3_optional() { " optional" } else { "" };
        let oneof = field.oneof_index.filter(|_| !field.proto3_optional());
        let oneof = oneof.map(|index| format!(" in {}", message.oneof_decl[usize::try_from(index).unwrap()].name()));
        promises.insert(format!(
            "field {scope}.{} = {} {:?} {:?}{}{presence}{}",
            field.name(),
            field.number(),
            field.label(),
            field.r#type(),
            field.type_name(),
            oneof.unwrap_or_default()
        ));
    }
    message.nested_type.iter().for_each(|nested| of_message(&scope, nested, promises));
    message.enum_type.iter().for_each(|nested| of_enum(&scope, nested, promises));
}

fn of_enum(scope: &str, of: &EnumDescriptorProto, promises: &mut BTreeSet<String>) {
    for value in &of.value {
        promises.insert(format!("value {scope}.{}.{} = {}", of.name(), value.name(), value.number()));
    }
}

fn of_service(service: &ServiceDescriptorProto, promises: &mut BTreeSet<String>) {
    for method in &service.method {
        let streaming = |yes: bool| if yes { "stream " } else { "" };
        promises.insert(format!(
            "method headwater.v1.{}.{} {}{} -> {}{}",
            service.name(),
            method.name(),
            streaming(method.client_streaming()),
            method.input_type(),
            streaming(method.server_streaming()),
            method.output_type()
        ));
    }
}

/// Recorded promises that the contract no longer keeps.
fn broken(contract: &FileDescriptorSet) -> Vec<&'static str> {
    let kept = promises(contract);
    RECORDED.lines().filter(|promise| !kept.contains(*promise)).collect()
}

#[test]
fn the_contract_keeps_every_recorded_promise() {
    assert!(RECORDED.lines().count() > 200);
    let broken = broken(&contract());
    assert!(broken.is_empty(), "clients rely on what is no longer so:\n{}", broken.join("\n"));
}

#[test]
fn a_field_that_is_renumbered_retyped_or_removed_is_noticed() {
    let changes: [fn(&mut DescriptorProto); 3] = [
        |message| message.field[0].number = Some(99),
        |message| message.field[0].set_type(prost_types::field_descriptor_proto::Type::Bytes),
        |message| drop(message.field.remove(0)),
    ];
    for change in changes {
        let mut contract = contract();
        let messages = contract.file.iter_mut().flat_map(|file| &mut file.message_type);
        change(messages.into_iter().find(|message| message.name() == "ClassifyRequest").unwrap());
        let broken = broken(&contract);
        assert_eq!(broken.len(), 1, "{broken:?}");
        assert!(broken[0].starts_with("field headwater.v1.ClassifyRequest.task = 1 "), "{broken:?}");
    }
}

#[test]
fn a_field_that_is_new_breaks_nothing() {
    let mut contract = contract();
    for message in contract.file.iter_mut().flat_map(|file| &mut file.message_type) {
        let new =
            prost_types::FieldDescriptorProto { name: Some("new".into()), number: Some(1_000), ..Default::default() };
        message.field.push(new);
    }
    assert!(broken(&contract).is_empty());
}

#[test]
fn what_is_new_is_recorded_from_then_on() {
    let recorded: BTreeSet<&str> = RECORDED.lines().collect();
    let promises = promises(&contract());
    let new: Vec<&str> = promises.iter().map(String::as_str).filter(|promise| !recorded.contains(promise)).collect();
    assert!(new.is_empty(), "the contract has grown; add to tests/fixtures/contract/v1.txt:\n{}", new.join("\n"));
}
