"""Parity-check matrices as arrays of circulants: AR4JA and C2 (131.0-B-5 §7), telecommand's.

Every matrix is quasi-cyclic.  A circulant of size z and shift s has its ones in row r at column
(r + s) mod z.  The permutations of the AR4JA codes, defined on M rows, are four such circulants of
size M / 4, one for each quarter of the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from protocols.errors import LocalError

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]

#: 131.0-B-5 tables 7-3 and 7-4: θ of the permutations 1 to 26.
THETA: Final = (3, 0, 1, 2, 2, 3, 0, 1, 0, 1, 2, 0, 2, 3, 0, 1, 2, 0, 1, 2, 0, 1, 2, 1, 2, 3)

#: The same tables: φ of the permutations 1 to 26 (columns), by quarter and M.
_PHI: Final = """
0  128 1 22 0 26 0 10 5 18 3 22 3 8 25 25 2 27 7 7 15 10 4 19 7 9 26 17
0  256 59 18 52 23 11 7 22 25 27 30 43 14 46 62 44 12 38 47 1 52 61 10 55 7 12 2
0  512 16 103 105 0 50 29 115 30 92 78 70 66 39 84 79 70 29 32 45 113 86 1 42 118 33 126
0 1024 160 241 185 251 209 103 90 184 248 12 111 66 173 42 157 174 104 144 43 181 250 202 68
       177 170 89
0 2048 108 126 238 481 96 28 59 225 323 28 386 305 34 510 147 199 347 391 165 414 97 158 86
       168 506 489
0 4096 226 618 404 32 912 950 534 63 971 304 409 708 719 176 743 759 674 958 984 11 413 925
       687 752 867 323
0 8192 1148 2032 249 1807 485 1044 717 873 364 1926 1241 1769 532 768 1138 965 141 1527 505
       1312 1840 709 1427 989 1925 270
1  128 0 27 30 28 7 1 8 20 26 24 4 12 23 15 15 22 31 3 29 21 2 5 11 26 9 17
1  256 0 32 21 36 30 29 44 29 39 14 22 15 48 55 39 11 1 50 40 62 27 38 40 15 11 18
1  512 0 53 74 45 47 0 59 102 25 3 88 65 62 68 91 70 115 31 121 45 56 54 108 14 30 116
1 1024 0 182 249 65 70 141 237 77 55 12 227 42 52 243 179 250 247 164 17 31 149 105 183 153
       177 19
1 2048 0 375 436 350 260 84 318 382 169 213 67 313 242 188 1 306 397 80 33 7 447 336 424 134
       152 492
1 4096 0 767 227 247 284 370 482 273 886 634 762 184 696 413 854 544 864 82 1009 437 36 562
       816 452 290 778
1 8192 0 1822 203 882 1989 957 1705 1083 1072 354 1942 446 1456 1940 1660 1661 587 708 1466
       433 1345 867 1551 2041 1383 1790
2  128 0 12 30 18 10 16 13 9 7 15 16 18 4 23 5 3 29 11 4 8 2 11 11 3 15 13
2  256 0 46 45 27 48 37 41 13 9 49 36 10 11 18 54 40 27 35 25 46 24 33 18 37 35 21
2  512 0 8 119 89 31 122 1 69 92 47 11 31 19 66 49 81 96 38 83 42 58 24 25 92 38 120
2 1024 0 35 167 214 84 206 122 67 147 54 23 93 20 197 46 162 101 76 78 253 124 143 63 41
       214 70
2 2048 0 219 16 263 415 403 184 279 198 307 432 240 454 294 479 289 373 104 141 270 439 333
       399 14 277 412
2 4096 0 254 790 642 248 899 328 518 477 404 698 160 497 100 518 92 464 592 198 856 235 134
       542 545 777 483
2 8192 0 318 494 1467 757 1085 1630 64 689 1300 148 777 1431 659 352 1177 836 1572 348 1040
       779 476 191 1393 1752 1627
3  128 0 13 19 14 15 20 17 4 4 11 17 20 8 22 19 15 5 21 17 9 20 18 31 13 2 18
3  256 0 44 51 12 15 12 4 7 2 30 53 23 29 37 42 48 4 10 18 56 9 11 23 8 7 24
3  512 0 35 97 112 64 93 99 94 103 91 3 6 39 113 92 119 74 73 116 31 127 98 23 38 18 62
3 1024 0 162 7 31 164 11 237 125 133 99 105 17 97 91 211 128 82 115 248 62 26 140 121 12 41
       249
3 2048 0 312 503 388 48 7 185 328 254 202 285 11 168 127 8 437 475 85 419 459 468 209 311
       211 510 320
3 4096 0 285 554 809 185 49 101 82 898 627 154 65 81 823 50 413 462 175 715 537 722 37 488
       179 430 264
3 8192 0 1189 458 460 1039 1000 1265 1223 874 1292 1491 631 464 461 844 392 922 256 1986 19
       266 471 1166 1300 1033 1606
"""

#: 131.0-B-5 §7.4.2: blocks of M × M by row and column of the rate 4/5 matrix; the rates 2/3 and
#: 1/2 leave out the first 4 and 6 columns.  0 is the identity, k the permutation k.
_AR4JA: Final[dict[tuple[int, int], tuple[int, ...]]] = {
    (0, 8): (0,),
    (0, 10): (0, 1),
    (1, 0): (21, 22, 23),
    (1, 1): (0,),
    (1, 2): (15, 16, 17),
    (1, 3): (0,),
    (1, 4): (9, 10, 11),
    (1, 5): (0,),
    (1, 6): (0,),
    (1, 7): (0,),
    (1, 9): (0,),
    (1, 10): (2, 3, 4),
    (2, 0): (0,),
    (2, 1): (24, 25, 26),
    (2, 2): (0,),
    (2, 3): (18, 19, 20),
    (2, 4): (0,),
    (2, 5): (12, 13, 14),
    (2, 6): (0,),
    (2, 7): (5, 6),
    (2, 9): (7, 8),
    (2, 10): (0,),
}

#: 131.0-B-5 table 7-1: positions of the ones in the first row of the circulants of C2.
_C2: Final = (
    ((0, 176), (12, 239), (0, 352), (24, 431), (0, 392), (151, 409), (0, 351), (9, 359),
     (0, 307), (53, 329), (0, 207), (18, 281), (0, 399), (202, 457), (0, 247), (36, 261)),
    ((99, 471), (130, 473), (198, 435), (260, 478), (215, 420), (282, 481), (48, 396), (193, 445),
     (273, 430), (302, 451), (96, 379), (191, 386), (244, 467), (364, 470), (51, 382), (192, 414)),
)  # fmt: skip

#: 231.0-B-4 §4.2, 230.1-G-3 tables 4-2 and 4-3: shifts of the circulants of size n / 8 in each of
#: the 8 columns, by row; none for a zero block.
_TC: Final[dict[int, tuple[tuple[tuple[int, ...], ...], ...]]] = {
    128: (
        ((0, 7), (2,), (14,), (6,), (), (0,), (13,), (0,)),
        ((6,), (0, 15), (0,), (1,), (0,), (), (0,), (7,)),
        ((4,), (1,), (0, 15), (14,), (11,), (0,), (), (3,)),
        ((0,), (1,), (9,), (0, 13), (14,), (1,), (0,), ()),
    ),
    512: (
        ((0, 63), (30,), (50,), (25,), (), (43,), (62,), (0,)),
        ((56,), (0, 61), (50,), (23,), (0,), (), (37,), (26,)),
        ((16,), (0,), (0, 55), (27,), (56,), (0,), (), (43,)),
        ((35,), (56,), (62,), (0, 11), (58,), (3,), (0,), ()),
    ),
}

#: Bits of a codeword of telecommand.
TC_CODEWORD_BITS: Final = tuple(_TC)

#: 131.0-B-5 table 7-2: information blocks K of M bits by rate.
AR4JA_BLOCKS: Final = {"1/2": 2, "2/3": 4, "4/5": 8}
AR4JA_INFORMATION_BITS: Final = (1024, 4096, 16384)


@dataclass(frozen=True, eq=False)
class QuasiCyclic:
    """A matrix of rows × columns circulants of `size`.

    circulants: int64 [n, 3], row, column and shift of each; their sum, modulo 2, is the matrix.
    """

    size: int
    rows: int
    columns: int
    circulants: I64

    def ones(self) -> I64:
        """int64 [m, 2]: row and column of every 1, by row and then by column.

        Raises LocalError if two circulants meet in one place, where they would cancel.
        """
        step = np.arange(self.size)
        row, column, shift = (self.circulants[:, i, None] for i in range(3))
        places = np.stack(
            (row * self.size + step, column * self.size + (step + shift) % self.size), axis=-1
        ).reshape(-1, 2)
        places = places[np.lexsort((places[:, 1], places[:, 0]))]
        if not np.diff(places, axis=0).any(axis=1).all():
            raise LocalError("circulants of the parity-check matrix meet in one place")
        return places


def _phi() -> dict[tuple[int, int], tuple[int, ...]]:
    """(quarter, M) → φ of the permutations 1 to 26."""
    numbers = [int(word) for word in _PHI.split()]
    rows = [numbers[i : i + 28] for i in range(0, len(numbers), 28)]
    return {(row[0], row[1]): tuple(row[2:]) for row in rows}


def ar4ja(rate: str, information_bits: int) -> QuasiCyclic:
    """The matrix, 3 M rows and (K + 3) M columns, the last M of which are punctured."""
    blocks = AR4JA_BLOCKS[rate]
    m = information_bits // blocks
    size = m // 4
    left_out = 8 - blocks
    phi = _phi()
    circulants: list[tuple[int, int, int]] = []
    for (row, column), permutations in _AR4JA.items():
        if column < left_out:
            continue
        for permutation in permutations:
            for quarter in range(4):
                theta, shift = 0, 0
                if permutation:
                    theta = THETA[permutation - 1]
                    shift = phi[quarter, m][permutation - 1]
                to = (theta + quarter) % 4
                circulants.append((4 * row + quarter, 4 * (column - left_out) + to, shift))
    return QuasiCyclic(size, 12, 4 * (blocks + 3), np.array(circulants, np.int64))


def c2() -> QuasiCyclic:
    """The matrix of the basic (8176, 7156) code."""
    circulants = [
        (row, column, shift)
        for row, pairs in enumerate(_C2)
        for column, shifts in enumerate(pairs)
        for shift in shifts
    ]
    return QuasiCyclic(511, 2, 16, np.array(circulants, np.int64))


def telecommand(codeword_bits: int) -> QuasiCyclic:
    """The matrix of the (128, 64) or the (512, 256) code; no column is punctured."""
    circulants = [
        (row, column, shift)
        for row, columns in enumerate(_TC[codeword_bits])
        for column, shifts in enumerate(columns)
        for shift in shifts
    ]
    return QuasiCyclic(codeword_bits // 8, 4, 8, np.array(circulants, np.int64))
