namespace EphemeralFs.Bench;

/// <summary>A row cannot be measured; the message is the reason that the table shows.</summary>
internal sealed class BenchException : Exception
{
    public BenchException(string message)
        : base(message)
    {
    }

    public BenchException()
    {
    }

    public BenchException(string message, Exception innerException)
        : base(message, innerException)
    {
    }
}
