// How every door turns exceptions into a code and a message: none may cross into Rust.

#pragma once

#include <c10/util/Exception.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <exception>

namespace headwater {

inline void say(const char* text, char* message, std::size_t room) noexcept {
    if (room == 0) {
        return;
    }
    const std::size_t length = std::min(std::strlen(text), room - 1);
    std::memcpy(message, text, length);
    message[length] = '\0';
}

template <class Work>
int guarded(char* message, std::size_t room, Work work) noexcept {
    try {
        work();
        return 0;
    } catch (const c10::Error& error) {
        say(error.what_without_backtrace(), message, room);
    } catch (const std::exception& error) {
        say(error.what(), message, room);
    } catch (...) {
        say("an exception of an unknown type", message, room);
    }
    return 1;
}

}  // namespace headwater
