namespace EphemeralFs.Client.Files;

/// <summary>A short list of byte ranges [start, end), sorted and disjoint: what of a read is still to be found.</summary>
public sealed class RangeList
{
    private readonly List<(ulong Start, ulong End)> _ranges = [];

    /// <summary>Number of ranges.</summary>
    public int Count => _ranges.Count;

    public (ulong Start, ulong End) this[int index] => _ranges[index];

    /// <summary>Begins with one range.</summary>
    public void Reset(ulong start, ulong end)
    {
        _ranges.Clear();
        if (end > start)
        {
            _ranges.Add((start, end));
        }
    }

    /// <summary>Takes a range out and reports each piece of it that was in the list.</summary>
    public void Subtract<TState>(ulong start, ulong end, ref TState state, TakePiece<TState> taken)
        where TState : allows ref struct
    {
        for (var i = 0; i < _ranges.Count; i++)
        {
            var (from, to) = _ranges[i];
            var a = Math.Max(from, start);
            var b = Math.Min(to, end);
            if (a >= b)
            {
                continue;
            }

            taken(ref state, a, b);
            _ranges.RemoveAt(i);
            if (b < to)
            {
                _ranges.Insert(i, (b, to));
            }

            if (from < a)
            {
                _ranges.Insert(i, (from, a));
                i++;
            }

            if (b == to)
            {
                i--;
            }
        }
    }
}

/// <summary>Receives a piece [start, end) that was taken out of a <see cref="RangeList"/>.</summary>
public delegate void TakePiece<TState>(ref TState state, ulong start, ulong end)
    where TState : allows ref struct;
