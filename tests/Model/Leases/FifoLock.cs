namespace EphemeralFs.Tests.Model.Leases;

/// <summary>A kernel's reader-writer semaphore: whoever waits is served in order, and readers that come after a waiting writer wait behind it.</summary>
internal sealed class FifoLock
{
    private readonly Queue<(bool Exclusive, TaskCompletionSource Turn)> _waiting = new();
    private int _readers;
    private bool _isWritten;

    public bool IsFree => !_isWritten && _readers == 0 && _waiting.Count == 0;

    public Task AcquireAsync(bool exclusive)
    {
        if (_waiting.Count == 0 && !_isWritten && (!exclusive || _readers == 0))
        {
            Take(exclusive);
            return Task.CompletedTask;
        }

        var turn = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _waiting.Enqueue((exclusive, turn));
        return turn.Task;
    }

    public void Release(bool exclusive)
    {
        if (exclusive)
        {
            _isWritten = false;
        }
        else
        {
            _readers--;
        }

        while (_waiting.TryPeek(out var next) && !_isWritten && (!next.Exclusive || _readers == 0))
        {
            _waiting.Dequeue();
            Take(next.Exclusive);
            next.Turn.SetResult();
        }
    }

    private void Take(bool exclusive)
    {
        if (exclusive)
        {
            _isWritten = true;
        }
        else
        {
            _readers++;
        }
    }
}
