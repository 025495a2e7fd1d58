// IT++'s turbo decoder (Debian libitpp-dev) as a peer of bench_decoders.py: the rate 1/3 code.
//
//   peer_itpp_turbo BITS PERMUTATION SYMBOLS OUT SIGMA
//
// PERMUTATION: int32, from 0.  SYMBOLS: float64 codewords in IT++'s order, the data bits of the
// second tail as 0.  Says "ready"; for each line of input decodes all and writes OUT, a bit an octet.
#include <itpp/itcomm.h>

#include <cstdint>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

int main(int argc, char **argv) {
  if (argc != 6) return 2;
  const int bits = std::stoi(argv[1]);
  itpp::ivec permutation(bits);
  std::ifstream order(argv[2], std::ios::binary);
  for (int i = 0; i < bits; i++) {
    std::int32_t place;
    order.read(reinterpret_cast<char *>(&place), sizeof place);
    permutation(i) = place;
  }
  std::ifstream file(argv[3], std::ios::binary);
  std::vector<char> octets((std::istreambuf_iterator<char>(file)), {});
  itpp::vec symbols(reinterpret_cast<double *>(octets.data()), octets.size() / sizeof(double));
  itpp::Turbo_Codec codec;
  codec.set_parameters("19 27", "19 27", 5, permutation, 25, "LOGMAP", 1.0, true);
  const double sigma = std::stod(argv[5]);
  codec.set_awgn_channel_parameters(1.0, 2 * sigma * sigma);
  std::cout << "ready" << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    itpp::bvec decoded;
    codec.decode(symbols, decoded);
    std::ofstream out(argv[4], std::ios::binary);
    for (int i = 0; i < decoded.size(); i++) out.put(decoded(i) ? 1 : 0);
    out.close();
    std::cout << "done" << std::endl;
  }
}
