namespace EphemeralFs.FuseMount.Fuse;

// Interrupts: the program that waits got a signal. Everything here is guarded by the worker's list of requests in flight.
public sealed unsafe partial class FuseRequest
{
    private Action<object?>? _interruptCallback;
    private object? _interruptState;
    private CancellationTokenSource? _interruptSource;
    private bool _interrupted;

    /// <summary>Whether the caller was signalled: answer EINTR if nothing was changed yet.</summary>
    public bool IsInterrupted => Volatile.Read(ref _interrupted);

    /// <summary>Asks to be called once when the caller is signalled, or when the connection ends.</summary>
    /// <param name="callback">Runs on a reader thread, perhaps at the very moment of the reply: it must not block, nor touch the request
    /// unless it knows by its own state that it has not been answered.</param>
    /// <param name="state">Given to <paramref name="callback"/>.</param>
    /// <returns>False if the caller was signalled already: the callback will not be called, answer now.</returns>
    /// <exception cref="InvalidOperationException">There is a callback already.</exception>
    public bool OnInterrupt(Action<object?> callback, object? state)
    {
        lock (_worker!.InFlight.Gate)
        {
            if (_interrupted)
            {
                return false;
            }
            if (_interruptCallback is not null)
            {
                throw new InvalidOperationException("this request has an interrupt callback already");
            }
            _interruptState = state;
            _interruptCallback = callback;
            return true;
        }
    }

    /// <summary>The same as a token, made when first asked for. Ask before awaiting, keep the token, not the request.</summary>
    public CancellationToken InterruptToken
    {
        get
        {
            lock (_worker!.InFlight.Gate)
            {
                if (_interruptSource is null)
                {
                    _interruptSource = new CancellationTokenSource();
                    if (_interrupted)
                    {
                        _interruptSource.Cancel();
                    }
                }
                return _interruptSource.Token;
            }
        }
    }

    /// <summary>Marks the request; called under the list's lock. What is returned is to be called outside of it.</summary>
    internal FuseInterruptHook TakeInterruptHook()
    {
        if (_interrupted)
        {
            return default;
        }
        _interrupted = true;
        var hook = new FuseInterruptHook(_interruptCallback, _interruptState, _interruptSource);
        _interruptCallback = null;
        _interruptState = null;
        return hook;
    }

    // After the request has left the list nobody else can reach these.
    private void ResetInterrupt()
    {
        _interrupted = false;
        _interruptCallback = null;
        _interruptState = null;
        _interruptSource = null;
    }
}

/// <summary>What an interrupt has to call.</summary>
internal readonly record struct FuseInterruptHook(Action<object?>? Callback, object? State, CancellationTokenSource? Source)
{
    public void Invoke()
    {
        Callback?.Invoke(State);
        Source?.Cancel();
    }
}
