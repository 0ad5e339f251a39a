namespace EphemeralFs.Metadata.Namespace;

/// <summary>Inode or block numbers that were granted to a session, and which of them it has used. Each number can be taken once.</summary>
public sealed class NumberGrants
{
    /// <summary>Most ranges of a session: 16 million numbers at the usual range. Beyond it the oldest range is forgotten.</summary>
    public const int RangesMax = 4096;

    private readonly List<Range> _ranges = [];

    /// <summary>The ranges: first number and the numbers that are left, as bits.</summary>
    public IReadOnlyList<Range> Ranges => _ranges;

    /// <summary>Adds a range above all earlier ones.</summary>
    public void Add(ulong first, uint count)
    {
        if (_ranges.Count == RangesMax)
        {
            _ranges.RemoveAt(0);
        }

        var left = new ulong[(count + 63) / 64];
        for (var i = 0U; i < count; i++)
        {
            left[i / 64] |= 1UL << (int)(i % 64);
        }

        _ranges.Add(new Range(first, count, left) { Left = count });
    }

    /// <summary>Adds a range as it was in a snapshot.</summary>
    public void Add(Range range) => _ranges.Add(range);

    /// <summary>Whether a number may be taken.</summary>
    public bool CanTake(ulong number) => Find(number) is { } range && range.Has(number);

    /// <summary>Takes a number for which <see cref="CanTake"/> holds.</summary>
    public void Take(ulong number)
    {
        var range = Find(number)!;
        range.Clear(number);
        if (range.Left == 0)
        {
            _ranges.Remove(range);
        }
    }

    private Range? Find(ulong number)
    {
        // Numbers are used in the order of the grants, so the range is among the first or, with parallel use, the last.
        var low = 0;
        var high = _ranges.Count - 1;
        while (low <= high)
        {
            var middle = (low + high) / 2;
            var range = _ranges[middle];
            if (number < range.First)
            {
                high = middle - 1;
            }
            else if (number - range.First >= range.Count)
            {
                low = middle + 1;
            }
            else
            {
                return range;
            }
        }

        return null;
    }

    /// <summary>A range of numbers.</summary>
    /// <param name="first">The first one.</param>
    /// <param name="count">How many.</param>
    /// <param name="bits">One bit for each number that is left.</param>
    public sealed class Range(ulong first, uint count, ulong[] bits)
    {
        public ulong First => first;

        public uint Count => count;

        public ulong[] Bits => bits;

        /// <summary>Numbers that are left.</summary>
        public uint Left { get; set; }

        public bool Has(ulong number) => (bits[(number - first) / 64] & (1UL << (int)((number - first) % 64))) != 0;

        public void Clear(ulong number)
        {
            bits[(number - first) / 64] &= ~(1UL << (int)((number - first) % 64));
            Left--;
        }
    }
}
