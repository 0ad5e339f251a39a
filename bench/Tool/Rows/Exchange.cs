namespace EphemeralFs.Bench.Rows;

/// <summary>A way from node A to node B: names written by one, read by the other.</summary>
internal abstract class Exchange : IDisposable
{
    /// <summary>Writes the content of <paramref name="seed"/> under the name, over what was there; returns the time at which it was handed over (nanoseconds).</summary>
    public abstract long Publish(int name, ulong seed);

    /// <summary>Reads the whole of the name on B into the buffer; returns its length, or -1 if B does not see the name or its handle went stale.</summary>
    public abstract long Fetch(int name);

    /// <summary>Whether what <see cref="Fetch"/> read last is the content of <paramref name="seed"/>.</summary>
    /// <param name="length">What Fetch returned.</param>
    /// <param name="seed">Expected.</param>
    /// <param name="everyByte">All bytes, or the stamp of every page.</param>
    public abstract bool IsRight(long length, ulong seed, bool everyByte);

    public abstract void Remove(int name);

    public abstract void Dispose();
}
