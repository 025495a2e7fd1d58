// A SoapySDR device without hardware, for the tests: samples come and go by Unix datagrams.
// Arguments: driver=l4-test,in=PATH (the device binds it), out=PATH (transmitted samples go there).
// It is there while the file PATH.there is.  A datagram: 'D', 8 octets of time (ns), samples; 'O': an
// overflow; 'E': the stream breaks.

#include <SoapySDR/Device.hpp>
#include <SoapySDR/Registry.hpp>
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <poll.h>
#include <stdexcept>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

static sockaddr_un address(const std::string &path)
{
    sockaddr_un found{};
    found.sun_family = AF_UNIX;
    std::strncpy(found.sun_path, path.c_str(), sizeof(found.sun_path) - 1);
    return found;
}

class TestDevice : public SoapySDR::Device
{
    int fd = -1;
    sockaddr_un out;
    double rate[2] = {1e6, 1e6}, frequency[2] = {0, 0};
    std::string held;
    long long heldTime = 0;

public:
    explicit TestDevice(const SoapySDR::Kwargs &args) : out(address(args.at("out")))
    {
        const std::string in = args.at("in");
        struct stat there;
        if (stat((in + ".there").c_str(), &there)) throw std::runtime_error("nobody at " + in);
        fd = socket(AF_UNIX, SOCK_DGRAM, 0);
        unlink(in.c_str());
        const sockaddr_un own = address(in);
        if (bind(fd, reinterpret_cast<const sockaddr *>(&own), sizeof(own)))
            throw std::runtime_error("bind: " + std::string(std::strerror(errno)));
    }
    ~TestDevice(void) override { close(fd); }

    std::string getDriverKey(void) const override { return "l4-test"; }
    size_t getNumChannels(const int) const override { return 1; }
    void setSampleRate(const int direction, const size_t, const double value) override
    {
        if (value > 20e6) throw std::runtime_error("20 Msps at most");
        rate[direction] = value;
    }
    double getSampleRate(const int direction, const size_t) const override { return rate[direction]; }
    void setFrequency(const int direction, const size_t, const double value,
                      const SoapySDR::Kwargs &) override
    {
        frequency[direction] = value;
    }
    double getFrequency(const int direction, const size_t) const override
    {
        return frequency[direction];
    }
    SoapySDR::Stream *setupStream(const int direction, const std::string &format,
                                  const std::vector<size_t> &, const SoapySDR::Kwargs &) override
    {
        if (format != "CS16") throw std::runtime_error("CS16 alone");
        return reinterpret_cast<SoapySDR::Stream *>(direction == SOAPY_SDR_RX ? 1L : 2L);
    }
    void closeStream(SoapySDR::Stream *) override {}
    int activateStream(SoapySDR::Stream *, const int, const long long, const size_t) override
    {
        return 0;
    }
    int deactivateStream(SoapySDR::Stream *, const int, const long long) override { return 0; }

    int readStream(SoapySDR::Stream *, void *const *buffers, const size_t most, int &flags,
                   long long &timeNs, const long timeoutUs) override
    {
        if (held.empty()) {
            pollfd waiting = {fd, POLLIN, 0};
            if (poll(&waiting, 1, int(timeoutUs / 1000)) <= 0) return SOAPY_SDR_TIMEOUT;
            char datagram[65536];
            const ssize_t got = recv(fd, datagram, sizeof(datagram), 0);
            if (got < 1 || datagram[0] == 'E') return SOAPY_SDR_STREAM_ERROR;
            if (datagram[0] == 'O') return SOAPY_SDR_OVERFLOW;
            std::memcpy(&heldTime, datagram + 1, sizeof(heldTime));
            held.assign(datagram + 9, size_t(got) - 9);
        }
        const size_t count = std::min(most, held.size() / 4);
        std::memcpy(buffers[0], held.data(), 4 * count);
        flags = SOAPY_SDR_HAS_TIME;
        timeNs = heldTime;
        held.erase(0, 4 * count);
        heldTime += (long long)(count * 1e9 / rate[SOAPY_SDR_RX]);
        return int(count);
    }

    int writeStream(SoapySDR::Stream *, const void *const *buffers, const size_t count, int &,
                    const long long, const long timeoutUs) override
    {
        const timeval patience = {timeoutUs / 1000000, timeoutUs % 1000000};
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
        // At most 100 samples at a time: nobody takes a transmitter's buffers to be endless.
        const size_t some = std::min<size_t>(count, 100);
        const ssize_t sent = sendto(fd, buffers[0], 4 * some, timeoutUs ? 0 : MSG_DONTWAIT,
                                    reinterpret_cast<const sockaddr *>(&out), sizeof(out));
        return sent < 0 ? SOAPY_SDR_TIMEOUT : int(sent / 4);
    }
};

static SoapySDR::KwargsList find(const SoapySDR::Kwargs &args)
{
    if (args.count("in") == 0) return {};
    SoapySDR::Kwargs found = args;
    found["driver"] = "l4-test";
    return {found};
}

static SoapySDR::Device *make(const SoapySDR::Kwargs &args) { return new TestDevice(args); }

static SoapySDR::Registry registration("l4-test", &find, &make, SOAPY_SDR_ABI_VERSION);
