namespace EphemeralFs.Client.State;

/// <summary>
/// Which places of a table in shared memory are free. Places that came back are taken again before one that was never used, so that no more memory is touched
/// than was in use at once: a mount that does little costs little.
/// </summary>
/// <param name="count">Places of the table.</param>
internal sealed class FreePlaces(int count)
{
    private readonly Stack<int> _returned = new();

    /// <summary>One past the highest place that was ever taken: nobody has to look behind it.</summary>
    public int End { get; private set; }

    /// <summary>Places in use.</summary>
    public int InUse => End - _returned.Count;

    /// <summary>Free places.</summary>
    public int Count => count - InUse;

    /// <summary>Takes a predecessor's table over.</summary>
    /// <param name="end">Its <see cref="End"/>.</param>
    /// <param name="isFree">Whether a place below it is free.</param>
    public void TakeOver(int end, Predicate<int> isFree)
    {
        End = end;
        for (var place = end - 1; place >= 0; place--)
        {
            if (isFree(place))
            {
                _returned.Push(place);
            }
        }
    }

    /// <summary>Takes a place; false when none is free.</summary>
    public bool TryTake(out int place)
    {
        if (_returned.TryPop(out place))
        {
            return true;
        }

        place = End;
        if (End == count)
        {
            return false;
        }

        End++;
        return true;
    }

    /// <summary>A place is free again.</summary>
    public void Return(int place) => _returned.Push(place);

    /// <summary>Begins anew: nothing is in use.</summary>
    public void Clear()
    {
        _returned.Clear();
        _returned.TrimExcess();
        End = 0;
    }
}
