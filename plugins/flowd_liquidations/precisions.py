"""How many decimals a symbol's quantities are shown with: what somebody typed in, else what the
exchange lists.
"""

from collections.abc import Callable, Mapping

from attrs import field, frozen

from flowd.market import EXACT, Fill, Instrument, Liquidation

Table = Callable[[str], Instrument | None]


@frozen
class Precisions:
    """Typed in by symbol, and the streams of instruments with what finds one there. Those are
    looked at when they are needed: they may come later than the first order.
    """

    typed: Mapping[str, int] = field(hash=False)
    streams: tuple[str, ...] = ()
    tables: tuple[Table, ...] = field(default=(), eq=False)

    def __call__(self, order: Liquidation | Fill) -> int | None:
        """The decimals of an order's quantity, None where nobody knows them."""
        if order.symbol in self.typed:
            return self.typed[order.symbol]
        for table in self.tables:
            found = table(f"{order.venue}/{order.symbol}")
            if found is not None:
                return decimals(found)
        return None


def decimals(instrument: Instrument) -> int | None:
    """How many decimals quantities in base units have."""
    if not instrument.step:
        return None
    step = instrument.step
    if instrument.contract is not None:
        step = EXACT.multiply(step, instrument.contract)
    exponent = EXACT.normalize(step).as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else None
